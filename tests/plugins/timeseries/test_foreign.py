"""Frames of polars and xarray, in and out."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from small_series import SMALL, walk

from unnoise_timeseries import DiffusionForecaster, DiffusionImputer
from unnoise_timeseries.foreign import foreign, pandas_of
from unnoise_timeseries.frames import FrameError, table

NETWORK = {k: v for k, v in SMALL.items() if k != "window"}
QUICK = {
    "window": 12, "steps": 3, "num_samples": 3, "sampling_steps": 2, "verbose": False,
    "device": "cpu", "batch_size": 4,
}  # fmt: skip
Imputer = partial(DiffusionImputer, options=NETWORK, **QUICK)


def holed(rows: int = 60) -> pd.DataFrame:
    frame = walk(rows)
    frame.iloc[10:14, 0] = np.nan
    frame.iloc[20, 1] = np.nan
    return frame


def test_what_is_of_pandas_or_numpy_is_left_alone():
    frame = holed()
    assert foreign(frame) is None
    assert pandas_of(frame) is frame


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_polars(zone):
    polars = pytest.importorskip("polars")
    frame = holed().tz_localize(zone)
    visits = [None if k in (5, 30) else k % 7 for k in range(60)]
    times = polars.Series("when", holed().index.to_numpy().astype("datetime64[us]"))
    if zone:
        stamps = frame.index.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
        times = polars.Series("when", stamps).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    data = polars.DataFrame(
        {
            "when": times,
            "a": polars.Series([None if np.isnan(v) else v for v in frame["a"]]),
            "b": polars.Series(frame["b"].to_numpy()),
            "visits": polars.Series(visits, dtype=polars.UInt8),
        }
    )
    inside = pandas_of(data)
    assert inside.index.equals(pd.DatetimeIndex(frame.index))
    assert str(inside["visits"].dtype) == "UInt8"
    np.testing.assert_array_equal(inside["a"].to_numpy(), frame["a"].to_numpy())
    model = Imputer().fit(data)
    found = model.transform(data)
    assert isinstance(found, polars.DataFrame)
    assert found.schema == data.schema
    assert found["when"].equals(data["when"])
    assert found.null_count().sum_horizontal().item() == 0
    assert not found["b"].is_nan().any()
    seen = ~frame["a"].isna().to_numpy()
    np.testing.assert_array_equal(found["a"].to_numpy()[seen], frame["a"].to_numpy()[seen])
    assert found["visits"].to_list()[:5] == [0, 1, 2, 3, 4]
    assert model.quantiles([0.5]).shape == (7, 1)
    assert model.score(data) < 0
    whole = data.with_columns(polars.col("a", "b", "visits").fill_null(1).fill_nan(1.0))
    with pytest.warns(UserWarning, match="nothing is missing"):
        assert model.transform(whole).equals(whole)


def test_a_panel_and_a_forecast_of_polars():
    polars = pytest.importorskip("polars")
    one = walk(50)
    times = one.index.to_numpy().astype("datetime64[us]")
    parts = {"place": ["x"] * 50 + ["y"] * 50, "time": np.concatenate([times, times])}
    data = polars.DataFrame(parts | {"a": [*one["a"], None, *one["b"][1:]]})
    assert [series.name for series in table(data).series] == ["x", "y"]
    found = Imputer().fit_transform(data)
    assert found["place"].to_list() == parts["place"]
    assert found["a"].null_count() == 0
    options = {"lags": (1,), "cells": 8, "hidden": 8}
    model = DiffusionForecaster(options=options, **QUICK).fit(data)
    ahead = model.predict(3)
    assert isinstance(ahead, polars.DataFrame)
    assert ahead.schema == data.schema
    assert len(ahead) == 6


def test_a_dataset_of_xarray():
    xarray = pytest.importorskip("xarray")
    frame = holed().rename_axis("time")
    data = xarray.Dataset.from_dataframe(frame).assign_attrs(source="a mast")
    data["a"].attrs["units"] = "m/s"
    found = Imputer().fit_transform(data)
    assert isinstance(found, xarray.Dataset)
    assert found.attrs == data.attrs
    assert found["a"].attrs == {"units": "m/s"}
    assert dict(found.sizes) == dict(data.sizes)
    assert not any(found[name].isnull().any() for name in "ab")
    xarray.testing.assert_equal(found.where(data.notnull()), data)


def test_a_panel_and_arrays_of_xarray():
    xarray = pytest.importorskip("xarray")
    frame = holed().rename_axis("time")
    grid = xarray.DataArray(
        np.stack([frame["a"], frame["b"]], 1),
        [("time", frame.index), ("station", [7, 9])],
        name="wind",
    )
    assert [series.name for series in table(grid).series] == [7, 9]
    found = Imputer().fit_transform(grid)
    assert found.dims == grid.dims
    assert found.name == "wind"
    assert not found.isnull().any()
    xarray.testing.assert_equal(found.where(grid.notnull()), grid)
    wide = xarray.DataArray(frame, dims=("time", "variable"))
    assert table(wide).columns == ("a", "b")
    found = Imputer().fit_transform(wide)
    assert found.dims == wide.dims
    assert not found.isnull().any()
    with pytest.raises(FrameError, match="over time"):
        table(grid.expand_dims(level=[0, 1]).to_dataset(name="x"))
