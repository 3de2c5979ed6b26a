"""Requests, files and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_series import walk

import unnoise
from unnoise.cli import main
from unnoise.errors import InputError
from unnoise.training.train import train
from unnoise_timeseries import EXAMPLE
from unnoise_timeseries.codec import standardised
from unnoise_timeseries.domain import TimeSeries
from unnoise_timeseries.loaders import read_csv


def test_it_is_found():
    assert "timeseries" in unnoise.domains()


def test_the_shipped_model_fills_frames_like_its_own(tmp_path, monkeypatch):
    size = sum(path.stat().st_size for path in TimeSeries.bundle.iterdir())
    assert size < 5_000_000
    monkeypatch.chdir(tmp_path)
    words = ["generate", "timeseries", "--data", str(EXAMPLE), "--num-samples", "3"]
    assert main([*words, "--steps", "3", "--out", "filled"]) == 0
    names = {path.name for path in (tmp_path / "filled").iterdir()}
    assert {"filled.csv", "quantiles.csv", "filled.png"} <= names
    whole = read_csv(tmp_path / "filled" / "filled.csv")
    assert whole.shape == (432, 8)
    assert whole.notna().all(axis=None)
    with pytest.raises(InputError, match="other columns than the model was fitted to"):
        unnoise.generate("timeseries", data=walk(60))


@pytest.mark.slow
def test_bands_of_the_shipped_model_widen_into_a_hole_and_close_again():
    """In the hole of 155 hours, 16 samples: the third quarter is where no end is near."""
    frame = read_csv(EXAMPLE, index_col=0, parse_dates=True)
    out = unnoise.generate("timeseries", data=frame, num_samples=16, seed=0)
    drawn = np.stack([s["pm2.5"].to_numpy() for s in out.samples])
    hole = np.flatnonzero(frame["pm2.5"].isna())
    run = max(np.split(hole, np.flatnonzero(np.diff(hole) > 1) + 1), key=len)
    spread = drawn[:, run].std(0)
    assert len(run) == 155
    assert spread[:3].mean() < 0.5 * spread[40:110].mean()
    assert spread[-3:].mean() < 0.7 * spread[40:110].mean()


def test_samples_are_frames_and_differ_in_the_holes_alone(model, frame):
    out = model.generate(data=frame, num_samples=3, steps=3)
    a, b = (sample.to_numpy() for sample in out.samples[:2])
    holes = frame.isna().to_numpy()
    assert not (a != b)[~holes].any()
    assert (a != b)[holes].mean() > 0.3  # so rough a model is often held at the data's range
    alone = model.generate(data=frame, num_samples=3, steps=3, ids=[1])
    np.testing.assert_allclose(alone.samples[0].to_numpy(), b, rtol=1e-4)
    assert "<img" in model.domain.display.preview(out.samples)
    whole = model.generate(data=walk(40), num_samples=2)
    assert whole.provenance["evaluations"] == 0
    assert "Nothing was missing" in model.domain.display.preview(whole.samples)


def test_no_sample_runs_away(run, frame):
    """A bad network (here: a loud one) is held within the range of the data, with room for half."""
    loud = unnoise.load(run)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in loud.denoiser.parameters():
            parameter.add_(torch.randn_like(parameter))
    known = loud.configuration.known
    out = loud.generate(data=frame, num_samples=20)
    z = np.stack([standardised(s.to_numpy(), known)[s.holes] for s in out.samples])
    assert np.abs(z).max() <= 1.5 * known.limit * (1 + 1e-5)
    assert np.abs(z).max() > known.limit


def test_a_horizon_adds_rows(model, frame):
    sample = model.generate(data=frame, horizon=4, steps=3).samples[0]
    assert len(sample) == len(frame) + 4
    assert sample.notna().all().all()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"horizon": -1}, "horizon"),
        ({"data": "nothing.csv"}, "no such file"),
        ({"data": walk(40)[["a"]]}, "other columns"),
        ({"data": walk(40) * np.nan}, "every value is missing"),
        ({"horizont": 3}, "did you mean 'horizon'"),
    ],
)
def test_bad_requests(model, frame, request_, said):
    with pytest.raises(InputError, match=said):
        model.generate(**{"data": frame, **request_})


def test_generate_writes_the_median_quantiles_and_a_picture(run, frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame.to_csv("holes.csv", index_label="time")
    words = ["generate", "timeseries", "--data", "holes.csv", "--model", str(run), "--steps", "3"]
    assert main([*words, "--num-samples", "5", "--batch-size", "2", "--out", "filled"]) == 0
    names = sorted(path.name for path in Path("filled").iterdir())
    assert names == [
        "filled.csv", "filled.png", "observed.csv", "provenance.json", "quantiles.csv", "samples",
    ]  # fmt: skip
    exact = {"index_col": 0, "parse_dates": True}
    found = read_csv("filled/filled.csv", **exact)
    seen = frame.notna().to_numpy()
    np.testing.assert_array_equal(found.to_numpy()[seen], frame.to_numpy()[seen])
    drawn = [read_csv(f"filled/samples/{k:05}.csv", **exact).to_numpy() for k in range(5)]
    np.testing.assert_allclose(found.to_numpy(), np.median(drawn, axis=0))
    quantiles = pd.read_csv("filled/quantiles.csv")
    assert len(quantiles) == (~seen).sum()
    assert (quantiles["0.05"] <= quantiles["0.95"]).all()
    assert Image.open("filled/filled.png").size[0] > 500


def test_panels_are_written_too(model, tmp_path):
    panel = pd.concat({"x": walk(30, 1), "y": walk(40, 2)}, names=["place", "hour"])
    panel.iloc[[5, 60], [0, 1]] = np.nan
    out = model.generate(data=panel, num_samples=3, steps=3)
    filled, quantiles, picture = out.save(tmp_path)
    assert len(pd.read_csv(filled)) == 70
    assert pd.read_csv(quantiles).columns[:3].tolist() == ["series", "time", "column"]
    assert picture.is_file()


def test_evaluate(run, tmp_path, capsys):
    walk(200).to_csv(tmp_path / "data.csv", index_label="time")
    words = ["evaluate", "timeseries", "--data", str(tmp_path / "data.csv"), "--model", str(run)]
    quick = ["--num-samples", "4", "--steps", "3"]
    capsys.readouterr()
    assert main([*words, "--metric", "imputation", "--share", "0.2", *quick]) == 0
    said = capsys.readouterr().out
    for name in ("| model", "linear interpolation", "seasonal naive", "fair CRPS", "coverage 90%"):
        assert name in said
    assert "energy score" in said
    picture = tmp_path / "calibration.png"
    block = ["--pattern", "block", "--block", "6", "--calibration", str(picture), "--json"]
    assert main([*words, "--metric", "imputation", *block, *quick]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["scores"]) >= {"model", "last value", "mean of the time of day"}
    with Image.open(picture) as drawn:
        assert drawn.width == drawn.height
    assert main([*words, "--metric", "forecasting", "--horizon", "5", *quick, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == 10
    early = walk(200).set_axis(pd.date_range("2023-01-01", periods=200, freq="h"))
    early.to_csv(tmp_path / "early.csv", index_label="time")
    words[3] = str(tmp_path / "early.csv")
    assert main([*words, "--metric", "imputation", *quick]) == 2
    assert "the test would measure memory" in capsys.readouterr().err
    words[3] = str(tmp_path / "data.csv")
    # the likelihood bound is in terms of targets, which are drawn anew
    assert main([*words, "--metric", "bound", "--num-samples", "4", "--steps", "50"]) == 0


def test_timegrad_trains_and_needs_a_horizon(tmp_path):
    quick = {"steps": 10, "batch_size": 4, "bound_samples": 0, "device": "cpu"}
    own = {"method": "timegrad", "window": 10, "lags": (1, 2), "cells": 6, "hidden": 5}
    own["held_out"], quick["samples_every"] = 0.2, 10
    model = train("timeseries", walk(80), tmp_path / "run", **own, **quick)
    assert (tmp_path / "run" / "samples" / "step-00000010" / "quantiles.csv").is_file()
    with pytest.raises(InputError, match="needs a horizon"):
        model.generate(data=walk(40))
    loaded = unnoise.load(tmp_path / "run")
    out = loaded.generate(data=walk(40), horizon=3, num_samples=2, steps=5)
    assert [sample.shape for sample in out.samples] == [(3, 2), (3, 2)]
    # a row costs one evaluation more, for its start
    assert out.provenance["evaluations"] == 3 * 6
    with pytest.raises(InputError, match="fewer rows"):
        loaded.generate(data=walk(11), horizon=3)


def test_a_model_in_training_fills_the_end_of_a_held_out_window(model):
    domain, own = model.domain, model.configuration
    held_out = domain.dataset(walk(200), own, "validation")
    told = domain.trial(own, held_out)
    assert told["data"].equals(walk(200).loc[told["data"].index])
    assert told["data"].index[0] >= walk(200).index[160]
    assert (len(told["data"]), told["horizon"]) == (9, 3)
    out = model.generate(**{**told, "num_samples": 2, "steps": 2})
    assert [sample.shape for sample in out.samples] == [(12, 2)] * 2
    assert all(np.isfinite(sample.to_numpy()).all() for sample in out.samples)
    none = own.model_copy(update={"held_out": 0.0})
    assert domain.trial(none, domain.dataset(walk(200), none, "validation")) is None
