"""Rows that are missing altogether."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from small_series import SMALL, walk

import unnoise
from unnoise.cli import main
from unnoise_timeseries import DiffusionForecaster, DiffusionImputer
from unnoise_timeseries.frames import FrameError
from unnoise_timeseries.times import spaced

NETWORK = {k: v for k, v in SMALL.items() if k != "window"}
Imputer = partial(
    DiffusionImputer, window=12, steps=3, num_samples=3, sampling_steps=2, verbose=False,
    device="cpu", options=NETWORK, batch_size=4,
)  # fmt: skip


def gappy(rows: int = 80) -> pd.DataFrame:
    return walk(rows).drop(walk(rows).index[[10, 11, 12, 40]])


def test_rows_are_put_in_where_they_are_missing():
    frame, whole = gappy(), walk(80)
    found = spaced(frame, "h")
    assert found.index.equals(whole.index)
    assert found.isna().all(axis=1).to_numpy().nonzero()[0].tolist() == [10, 11, 12, 40]
    pd.testing.assert_frame_equal(found.dropna(), frame, check_freq=False)
    assert spaced(whole, "h") is whole
    assert spaced(frame, None) is frame
    numbered = frame.set_axis(np.arange(76) * 5).drop(15)
    assert spaced(numbered, "5").index.tolist() == list(range(0, 376 + 4, 5))
    local = (
        whole.tz_localize("UTC").tz_convert("Europe/Berlin").drop(whole.index[5].tz_localize("UTC"))
    )
    assert len(spaced(local, "h")) == 80


def test_a_panel_is_spaced_series_by_series():
    panel = pd.concat({"x": gappy(60), "y": gappy(50)}, names=["place", "time"])
    found = spaced(panel, "h")
    assert len(found.loc["x"]) == 60
    assert len(found.loc["y"]) == 50
    assert found.index.names == ["place", "time"]


@pytest.mark.parametrize(
    ("freq", "said"), [("2h", r"row 1: 2024-01-01 01:00"), ("fortnight", "no frequency")]
)
def test_what_is_no_frequency_of_the_times_is_refused(freq, said):
    with pytest.raises(FrameError, match=said):
        spaced(gappy(), freq)


def test_an_imputer_fills_them_and_its_bundle_does(tmp_path):
    frame = gappy()
    with pytest.raises(FrameError, match="not equally spaced"):
        Imputer().fit(frame)
    model = Imputer(freq="h").fit(frame)
    found = model.transform(frame)
    assert found.index.equals(walk(80).index)
    assert found.notna().all(axis=None)
    pd.testing.assert_frame_equal(found.loc[frame.index], frame, check_freq=False)
    assert len(model.quantiles([0.5])) == 8
    model.model_.save(tmp_path / "run")
    again = unnoise.load(tmp_path / "run").generate(data=frame, num_samples=2, steps=2)
    assert len(again.samples[0]) == 80
    options = {"lags": (1,), "cells": 8, "hidden": 8}
    ahead = DiffusionForecaster(
        window=12, steps=2, num_samples=2, sampling_steps=2, verbose=False, freq="h",
        device="cpu", options=options, batch_size=4,
    )  # fmt: skip
    assert len(ahead.fit(frame).predict(3)) == 3


def test_the_command_line_fills_them(tmp_path, run, monkeypatch):
    gappy().to_csv(tmp_path / "data.csv")
    monkeypatch.chdir(tmp_path)
    words = ["generate", "timeseries", "--model", str(run), "--data", "data.csv", "--freq", "h"]
    assert main([*words, "--num-samples", "2", "--steps", "2", "--out", "filled"]) == 0
    found = pd.read_csv(tmp_path / "filled" / "filled.csv")
    assert len(found) == 80
    assert found.notna().all(axis=None)
