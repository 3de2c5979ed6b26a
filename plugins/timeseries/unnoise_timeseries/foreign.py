"""Frames of polars and xarray: as one of pandas, and back. Neither is needed, nor imported, unless
a frame of theirs comes along.

polars : the times are the first column of dates, and become the index; a first column of words is
    the series of a panel. Null is missing, as NaN is; dtypes stay.
xarray : a Dataset over (time,), or a panel over (series, time) in any order; or a DataArray, over
    these as one variable, or over (time, variable), the variables being words.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd

from unnoise_timeseries.times import FrameError


@final
@dataclass(frozen=True, eq=False)
class Foreign:
    """A frame from elsewhere.

    Attributes
    ----------
    frame : what it is to pandas.
    back : a frame of pandas with these columns as one of theirs.
    """

    frame: pd.DataFrame
    back: Callable[[pd.DataFrame], Any]


def foreign(data: Any) -> Foreign | None:
    """What `data` is to pandas, if it is of polars or xarray; None for all else.

    Raises FrameError for other dimensions than are said above.
    """
    polars, xarray = sys.modules.get("polars"), sys.modules.get("xarray")
    if polars is not None and isinstance(data, polars.DataFrame):
        return _of_polars(data, polars)
    if xarray is not None and isinstance(data, xarray.DataArray):
        return _of_array(data, xarray)
    if xarray is not None and isinstance(data, xarray.Dataset):
        return _of_dataset(data)
    return None


def pandas_of(data: Any) -> Any:
    """As `foreign(data).frame`; what is of pandas or numpy is returned as it is."""
    found = foreign(data)
    return data if found is None else found.frame


def _of_polars(data: Any, polars: Any) -> Foreign:
    words = [name for name, kind in data.schema.items() if kind == polars.String]
    times = [name for name, kind in data.schema.items() if kind.is_temporal()]
    keys = [*words[:1], *times[:1]] if times else []
    columns = {name: _column(data[name], polars) for name in data.columns if name not in keys}
    frame = pd.DataFrame(columns)
    if keys:
        levels = [pd.Index(_column(data[name], polars), name=name) for name in keys]
        frame.index = levels[0] if len(levels) == 1 else pd.MultiIndex.from_arrays(levels)

    def back(made: pd.DataFrame) -> Any:
        known = {name: made.index.get_level_values(name) for name in keys}
        parts = []
        for name, kind in data.schema.items():
            own = known[name] if name in known else made[name]
            parts.append(_series(polars, name, pd.Series(own), kind))
        return polars.DataFrame(parts)

    return Foreign(frame, back)


def _column(series: Any, polars: Any) -> Any:
    """A column of polars as values for pandas."""
    kind = series.dtype
    if kind.is_temporal():
        zone = kind.time_zone if isinstance(kind, polars.Datetime) else None
        stamps = pd.DatetimeIndex(series.to_numpy())
        return stamps.tz_localize("UTC").tz_convert(zone) if zone else stamps
    if kind.is_integer() and series.null_count():
        return pd.array(series.to_list(), dtype=str(kind))
    if kind.is_float():
        return series.to_numpy()  # null is NaN
    return series.to_list() if not kind.is_numeric() else series.to_numpy()


def _series(polars: Any, name: str, values: pd.Series[Any], kind: Any) -> Any:
    if kind.is_temporal():
        if values.dt.tz is not None:
            values = values.dt.tz_convert("UTC").dt.tz_localize(None)
            found = polars.Series(name, values.to_numpy().astype("datetime64[us]"))
            return found.dt.replace_time_zone("UTC").cast(kind)
        return polars.Series(name, values.to_numpy().astype("datetime64[us]")).cast(kind)
    if kind.is_integer() or not kind.is_numeric():
        return polars.Series(name, [None if v is pd.NA else v for v in values], dtype=kind)
    return polars.Series(name, values.to_numpy(dtype=np.float64, na_value=np.nan)).cast(kind)


def _of_dataset(data: Any) -> Foreign:
    order = _dimensions(data)
    plain = data.reset_coords(drop=True)
    frame = plain.to_dataframe(dim_order=order)
    frame.columns = frame.columns.astype(object)

    def back(made: pd.DataFrame) -> Any:
        found = type(data).from_dataframe(pd.DataFrame(made))
        found.attrs = dict(data.attrs)
        for name, own in plain.data_vars.items():
            found[name] = found[name].transpose(*own.dims)
            found[name].attrs = dict(own.attrs)
        return found

    return Foreign(frame, back)


def _of_array(data: Any, xarray: Any) -> Foreign:
    if data.ndim == 2 and _named(data, data.dims[1]) and data.dtype.kind == "f":

        def wide(made: pd.DataFrame) -> Any:
            return xarray.DataArray(
                made.to_numpy(), [made.index, made.columns], data.dims, data.name, data.attrs
            )

        return Foreign(data.to_pandas(), wide)
    name = "value" if data.name is None else data.name
    inner = _of_dataset(data.to_dataset(name=name))

    def back(made: pd.DataFrame) -> Any:
        return inner.back(made)[name].rename(data.name)

    return Foreign(inner.frame, back)


def _dimensions(data: Any) -> list[Any]:
    """(series and) time."""
    times = [name for name in data.dims if _is_time(data, name)]
    rest = [name for name in data.dims if name not in times]
    if len(times) == 1 and len(rest) < 2:
        return [*rest, *times]
    if not times and len(rest) == 1:
        return rest
    raise FrameError(
        "what xarray holds is a series over time, or a panel over (series, time)",
        value=tuple(data.dims),
        fix="select or stack the other dimensions",
    )


def _named(data: Any, name: Any) -> bool:
    """Whether the labels are words: variables."""
    return name in data.indexes and data.indexes[name].dtype.kind in "OU"


def _is_time(data: Any, name: Any) -> bool:
    return name in data.indexes and isinstance(
        data.indexes[name], pd.DatetimeIndex | pd.PeriodIndex
    )
