"""Columns that are known in every row."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from small_series import SMALL, walk

import unnoise
from unnoise.errors import ConfigError, InputError
from unnoise_timeseries import DiffusionForecaster, DiffusionImputer
from unnoise_timeseries.data import Windows, configure, read
from unnoise_timeseries.frames import FrameError

NETWORK = {k: v for k, v in SMALL.items() if k != "window"}
QUICK = {
    "window": 12, "steps": 3, "num_samples": 3, "sampling_steps": 2, "verbose": False,
    "device": "cpu", "batch_size": 4, "options": NETWORK, "covariates": ("holiday",),
}  # fmt: skip
Imputer = partial(DiffusionImputer, **QUICK)


def festive(rows: int = 120) -> pd.DataFrame:
    return walk(rows).assign(holiday=(np.arange(rows) // 12 % 5 == 0) * 1.0)


@pytest.mark.parametrize("targets", ["random", "historical", "mix", "block", "forecasting", "any"])
def test_they_are_given_and_never_hidden(targets):
    frame = festive()
    frame.iloc[3:9, 0] = np.nan
    own = {**SMALL, "covariates": ("holiday",), "targets": targets}
    configuration = configure(frame, own)
    data = Windows(read(frame, configuration), configuration, "train")
    for number in range(40):
        _, target, told = data[number]
        assert target[:, :2].any()
        assert not target[:, 2].any()
        assert told["given"][:, 2].all()


def test_windows_with_nothing_else_are_left_out():
    frame = festive()
    frame.iloc[20:50, :2] = np.nan
    configuration = configure(frame, {**SMALL, "covariates": ("holiday",)})
    data = Windows(read(frame, configuration), configuration, "train")
    for number in range(len(data)):
        assert data[number][1].any()


def test_an_imputer_its_score_and_its_bundle(tmp_path):
    frame = festive()
    frame.iloc[30:40, 0] = np.nan
    model = Imputer().fit(frame)
    found = model.transform(frame)
    assert found.notna().all(axis=None)
    pd.testing.assert_series_equal(found["holiday"], frame["holiday"])
    assert model.score(frame) < 0
    model.model_.save(tmp_path / "run")
    kept = unnoise.load(tmp_path / "run")
    assert kept.generate(data=frame, num_samples=2, steps=2).samples[0].notna().all(axis=None)
    with pytest.raises(InputError, match="covariates of the rows to forecast"):
        kept.generate(data=frame, horizon=3, num_samples=2, steps=2)
    frame.iloc[7, 2] = np.nan
    with pytest.raises(FrameError, match=r"'holiday' is missing.*row 7"):
        model.transform(frame)


def test_a_forecast_is_given_those_of_its_rows():
    frame = festive()
    model = DiffusionForecaster(method="csdi", **QUICK).fit(frame)
    ahead = frame.copy()
    ahead.iloc[-6:, :2] = np.nan
    found = model.predict(6, ahead)
    assert found.index.equals(frame.index[-6:])
    assert found.notna().all(axis=None)
    pd.testing.assert_series_equal(found["holiday"], frame["holiday"].iloc[-6:])
    assert model.score(frame) < 0


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"covariates": ("feast",)}, "a covariate is a column"),
        ({"covariates": ("a", "b", "holiday")}, "nothing is left"),
        ({"covariates": ("a",), "method": "timegrad"}, "timegrad reads the calendar alone"),
    ],
)
def test_what_is_no_covariate(own, said):
    with pytest.raises(ConfigError, match=said):
        configure(festive(), {**SMALL, **own})
