"""The times of a frame: of one frequency, in order, each there once."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from unnoise.errors import InputError

SHOWN = 3  # bad labels that a message names


class FrameError(InputError, ValueError):
    """A frame that cannot be used. Also a ValueError, which is what scikit-learn's users catch."""


def continued(index: pd.Index[Any], horizon: int, frequency: str) -> pd.Index[Any]:
    """The `horizon` times that follow an index."""
    if isinstance(index, pd.DatetimeIndex):
        return pd.date_range(index[-1], periods=horizon + 1, freq=frequency, name=index.name)[1:]
    if isinstance(index, pd.PeriodIndex):
        return pd.period_range(index[-1] + 1, periods=horizon, freq=index.freq, name=index.name)
    step, last = int(frequency), int(index[-1])
    return pd.RangeIndex(last + step, last + step * (horizon + 1), step, name=index.name)


def spaced(data: Any, freq: str | None) -> Any:
    """A frame with the rows that are missing altogether put in, empty, from the first time to the
    last of each series. Anything but a frame, and one that is not in order, is returned as it is.

    Parameters
    ----------
    freq : a pandas frequency, such as "h" or "10min"; of an index of whole numbers their step.

    Raises FrameError for what is no frequency, and for a time that is not of it.
    """
    if freq is None or not isinstance(data, pd.DataFrame | pd.Series) or not len(data):
        return data
    if isinstance(data.index, pd.MultiIndex):
        parts = {
            name: spaced(part.droplevel(0), freq)
            for name, part in data.groupby(level=0, sort=False)
        }
        found: Any = pd.concat(parts, names=list(data.index.names))
        found.attrs = dict(data.attrs)
        return found
    index = data.index
    if index.hasnans or not index.is_monotonic_increasing or index.has_duplicates:
        return data
    try:
        if isinstance(index, pd.DatetimeIndex):
            every: pd.Index[Any] = pd.date_range(index[0], index[-1], freq=freq, name=index.name)
        elif isinstance(index, pd.PeriodIndex):
            every = pd.period_range(index[0], index[-1], freq=freq, name=index.name)
        else:
            every = pd.RangeIndex(index[0], index[-1] + 1, int(freq), name=index.name)
    except (ValueError, TypeError) as error:
        raise FrameError(f"this is no frequency of the times: {error}", value=freq) from error
    away = ~index.isin(every)
    if away.any():
        row = int(away.argmax())
        raise FrameError(
            "a time is not of the frequency",
            value=f"row {row}: {index[row]}",
            limit=f"every {freq} from {index[0]}",
            fix="frame.resample(...).mean()",
        )
    return data if len(every) == len(index) else data.reindex(every)


def frequency_of(index: pd.Index[Any], where: str = "") -> str | None:
    """The frequency of an index as text; None for a single row. FrameError when it has none."""
    if index.hasnans:
        row = int(np.flatnonzero(index.isna())[0])
        raise FrameError(f"the index{where} has a missing time", value=f"row {row}")
    if isinstance(index, pd.PeriodIndex | pd.DatetimeIndex):
        numbers = index.asi8
    elif types.is_integer_dtype(index.dtype):
        numbers = index.to_numpy(dtype=np.int64)
    else:
        raise FrameError(
            f"the index{where} is neither times nor whole numbers",
            value=f"{index[0]!r} of type {index.dtype}",
            fix=_zones(index) or "frame.index = pd.to_datetime(frame.index)",
        )
    steps = np.diff(numbers)
    _ordered(index, steps, where)
    if len(index) < 2:
        return None
    regular = bool((steps == steps[0]).all())
    if isinstance(index, pd.DatetimeIndex):
        if regular:
            return str(pd.tseries.frequencies.to_offset(index[1] - index[0]).freqstr)
        named = _calendar_frequency(index)
        if named is not None:  # months and years have no one length
            return named
    elif regular:
        return index.freqstr if isinstance(index, pd.PeriodIndex) else str(int(steps[0]))
    usual = np.bincount(np.unique(steps, return_inverse=True)[1]).argmax()
    usual_step = np.unique(steps)[usual]
    row = int(np.flatnonzero(steps != usual_step)[0]) + 1
    raise FrameError(
        f"the times{where} are not equally spaced",
        value=f"row {row}: {index[row - 1]} is followed by {index[row]}",
        fix="frame.asfreq(...) puts in the rows that are missing, frame.resample(...).mean() those"
        " that lie between",
    )


def _calendar_frequency(index: pd.DatetimeIndex) -> str | None:
    if len(index) < 3:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pandas 4: an offset in place of text
        found = pd.infer_freq(index)
    return None if found is None else str(getattr(found, "freqstr", found))


def _ordered(index: pd.Index[Any], steps: np.ndarray[Any, Any], where: str) -> None:
    if index.has_duplicates:
        row = int(np.flatnonzero(index.duplicated())[0])
        raise FrameError(
            f"a time{where} is there twice",
            value=f"row {row}: {index[row]}",
            fix="frame[~frame.index.duplicated()], or name the series of a panel",
        )
    if bool((steps < 0).any()):
        row = int(np.flatnonzero(steps < 0)[0]) + 1
        raise FrameError(
            f"the times{where} are not in order",
            value=f"row {row}: {index[row - 1]} is followed by {index[row]}",
            fix="frame.sort_index()",
        )


def _zones(index: pd.Index[Any]) -> str:
    found = {str(getattr(t, "tzinfo", None)) for t in index[:10_000] if hasattr(t, "tzinfo")}
    if len(found) < 2:
        return ""
    return f"its time zones are mixed ({', '.join(sorted(found)[:SHOWN])}): convert with utc=True"
