"""scikit-learn's interface."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from small_series import SMALL, walk

from unnoise.errors import InputError
from unnoise_timeseries import DiffusionForecaster, DiffusionImputer

NETWORK = {k: v for k, v in SMALL.items() if k != "window"}
QUICK = {"steps": 20, "num_samples": 4, "verbose": False, "device": "cpu", "random_state": 0}
Imputer = partial(
    DiffusionImputer, window=12, sampling_steps=3, options=NETWORK, batch_size=8, **QUICK
)
Forecaster = partial(DiffusionForecaster, sampling_steps=5, batch_size=8, **QUICK)


@parametrize_with_checks(
    [
        DiffusionImputer(
            window=2, steps=2, num_samples=2, sampling_steps=2, verbose=False, device="cpu",
            held_out=0.0, options=NETWORK, batch_size=4,
        )
    ]
)  # fmt: skip
def test_scikit_learn(estimator, check):
    """Without exceptions. Its frames have no holes where it shuffles or splits them: there rows are
    returned as they are, and otherwise they depend on their neighbours."""
    check(estimator)


@pytest.fixture(scope="module")
def fitted() -> DiffusionImputer:
    frame = walk(120)
    frame.iloc[30:38, 0] = np.nan
    frame.iloc[[50, 90], 1] = np.nan
    return Imputer().fit(frame)


def test_a_frame_comes_back_with_its_holes_filled(fitted):
    frame = fitted.frame_
    found = fitted.transform(frame)
    seen = frame.notna()
    assert type(found) is pd.DataFrame
    assert found.index.equals(frame.index)
    assert found.columns.equals(frame.columns)
    assert found.notna().all().all()
    assert (found[seen] == frame[seen]).sum().sum() == seen.sum().sum()
    again = fitted.transform(frame)
    pd.testing.assert_frame_equal(found, again)  # the same seed
    assert list(fitted.get_feature_names_out()) == ["a", "b"]


def test_samples_and_quantiles_agree_with_the_median(fitted):
    drawn = fitted.sample(4)
    assert drawn.index.names[0] == "sample"
    assert len(drawn) == 4 * 120
    quantiles = fitted.quantiles([0.0, 0.5, 1.0])
    assert list(quantiles.columns) == [0.0, 0.5, 1.0]
    assert len(quantiles) == 10
    time, column = quantiles.index[3]
    values = drawn.xs(time, level=1)[column]
    expected = [values.min(), values.median(), values.max()]
    assert quantiles.iloc[3].tolist() == pytest.approx(expected, rel=1e-5)
    middle = fitted.transform(fitted.frame_)
    assert middle.loc[time, column] == pytest.approx(values.median(), rel=1e-5)


def test_arrays_pipelines_clones_and_pickles():
    array = walk(60).to_numpy().copy()
    array[5, 0] = np.nan
    pipe = make_pipeline(StandardScaler(), Imputer())
    found = pipe.fit_transform(array)
    assert isinstance(found, np.ndarray)
    assert np.isfinite(found).all()
    copy = clone(pipe[-1])
    assert copy.get_params() == pipe[-1].get_params()
    again = pickle.loads(pickle.dumps(pipe)).transform(array)
    np.testing.assert_array_equal(again, found)


def test_nothing_missing_is_said(fitted):
    frame = walk(40)
    with pytest.warns(UserWarning, match="nothing is missing"):
        found = fitted.transform(frame)
    pd.testing.assert_frame_equal(found, frame)


def test_what_cannot_be_filled(fitted):
    frame = walk(40)
    for bad, said in (
        (frame * np.nan, "every value is missing"),
        (frame[["a"]], "other columns"),
        (frame.replace(frame.iloc[3, 1], -np.inf), "column 'b' has an infinity.*row 3"),
        (frame.tz_localize("UTC"), "time zone"),
    ):
        with pytest.raises(InputError, match=said):
            fitted.transform(bad)
    with pytest.raises(InputError, match="column 'a' has no value"):
        Imputer().fit(frame.assign(a=np.nan))
    with pytest.raises(InputError, match="fewer rows in its training part"):
        Imputer().fit(frame.iloc[:10])


def test_a_constant_column_is_filled_with_the_constant():
    frame = walk(60).assign(c=7.25)
    frame.iloc[10:14, 2] = np.nan
    assert (Imputer().fit_transform(frame)["c"] == 7.25).all()


def test_a_panel():
    panel = pd.concat({"x": walk(60, 1), "y": walk(50, 2)}, names=["place", "time"])
    panel.iloc[[5, 80], [0, 1]] = np.nan
    found = Imputer().fit_transform(panel)
    assert found.index.equals(panel.index)
    assert found.notna().all().all()


def test_the_time_of_a_fit_is_told_before_it(capsys):
    Imputer().set_params(verbose=True, window=96).fit(walk(700))  # less has no network to train
    said = capsys.readouterr().err
    assert said.index("20 steps, about") < said.index("loss")


@pytest.mark.parametrize("method", ["timegrad", "csdi"])
def test_forecasts(method):
    frame = walk(150)
    frame.iloc[40:45, 0] = np.nan
    options = {"lags": (1, 24), "cells": 8, "hidden": 8} if method == "timegrad" else NETWORK
    model = Forecaster(method=method, window=16, options=options).fit(frame)
    found = model.predict(6)
    assert found.shape == (6, 2)
    assert found.index[0] == frame.index[-1] + pd.Timedelta(hours=1)
    assert np.isfinite(found.to_numpy()).all()
    drawn = model.sample(4, 6)
    assert drawn.shape == (24, 2)
    quantiles = model.quantiles([0.25, 0.75], 6)
    assert (quantiles["a"][0.25] <= quantiles["a"][0.75]).all()
    for horizon in (0, -3):
        with pytest.raises(InputError, match="horizon"):
            model.predict(horizon)
