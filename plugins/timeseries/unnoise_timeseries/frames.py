"""Data frames in and out: what is a usable frame, and how holes are filled in it.

A frame has one row per time and one column per variable. Times are the index: datetimes (with or
without a time zone) or periods of one frequency, or whole numbers in equal steps. A panel has two
index levels, (series, time). Nothing is repaired in silence: what cannot be used is refused with
the column and the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd
from pandas.api import types

from unnoise_timeseries.foreign import pandas_of
from unnoise_timeseries.times import SHOWN, FrameError, continued, frequency_of

_UNITS = {"s": 1e11, "ms": 1e14, "us": 1e17, "ns": np.inf}
"""Of times since 1970, and below what they are until the year 5138."""


@final
class CellError(FrameError, TypeError):
    """A cell that is no number. Also a TypeError, as float() raises."""


@final
class Filled(pd.DataFrame):
    """A completed frame: `holes` (rows, columns) says which of its cells were generated."""

    _metadata: ClassVar[list[str]] = ["holes"]

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame


@final
@dataclass(frozen=True, eq=False)
class Series:
    """One series of a table.

    Attributes
    ----------
    name : its label in a panel, else None.
    rows : (n,) positions of its rows in the frame, in order of time.
    index : (n,) their times.
    values : (n, columns) float64, NaN where missing.
    """

    name: Any
    rows: np.ndarray[Any, np.dtype[np.int64]]
    index: pd.Index[Any]
    values: np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, eq=False)
class Table:
    """A checked frame.

    Attributes
    ----------
    frame : as it was given.
    columns : names of the variables, as text.
    frequency : of the index: a pandas offset, or a whole number for plain numbers.
    aware : whether times carry a time zone.
    series : in order of first appearance; one unless the frame is a panel.
    """

    frame: pd.DataFrame
    columns: tuple[str, ...]
    frequency: str
    aware: bool
    series: tuple[Series, ...]

    @property
    def holes(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(rows, columns) bool, True where a value is missing, in the order of the frame."""
        found = np.zeros((len(self.frame), len(self.columns)), dtype=bool)
        for one in self.series:
            found[one.rows] = np.isnan(one.values)
        return found


def table(data: Any) -> Table:
    """Check a frame (or an array (rows, columns)).

    Raises
    ------
    FrameError : no rows or columns, columns that are not numbers, infinities, duplicate names; an
        index that is unsorted, irregular, repeated, mixed in its time zones or of another kind.
    """
    frame = _frame(data)
    columns = _columns(frame)
    values = np.column_stack([_numbers(frame, j) for j in range(frame.shape[1])])
    parts = _parts(frame)
    found, frequencies, aware = [], {}, {}
    for name, rows, index in parts:
        where = "" if name is None else f" of series {name!r}"
        step = frequency_of(index, where)
        if step is not None:
            frequencies.setdefault(step, name)
        aware.setdefault(getattr(index, "tz", None) is not None, name)
        found.append(Series(name, rows, index, values[rows]))
    if len(frequencies) > 1 or len(aware) > 1:
        what = "frequencies" if len(frequencies) > 1 else "kinds of time zone"
        raise FrameError(
            f"the series of a panel have different {what}",
            value=frequencies if len(frequencies) > 1 else aware,
            fix="resample them to one, frame.asfreq(...)",
        )
    step = next(iter(frequencies), "1")
    return Table(frame, columns, step, next(iter(aware)), tuple(found))


def matching(
    data: Any, columns: Sequence[str], frequency: str | None = None, aware: bool | None = None
) -> Table:
    """`table(data)`, which must have these columns in any order, and this frequency.

    Raises FrameError as `table`, and for another frame than the model was made for.
    """
    frame = _frame(data)
    names = [str(c) for c in frame.columns]
    missing = [c for c in columns if c not in names]
    extra = [c for c in names if c not in columns]
    if missing or extra:
        raise FrameError(
            "the frame has other columns than the model was fitted to: "
            f"missing {missing[:SHOWN]}, unknown {extra[:SHOWN]}",
            value=names,
            limit=list(columns),
        )
    found = table(frame)
    if list(found.columns) != list(columns):
        raise FrameError(
            "the columns are in another order than the model was fitted to",
            value=list(found.columns),
            limit=list(columns),
            fix=f"frame[{list(columns)!r}]",
        )
    if aware is not None and found.aware != aware:
        has = "carry" if found.aware else "carry no"
        raise FrameError(
            f"the times {has} time zone, unlike those that the model was fitted to",
            value=str(found.frame.index[0]),
            fix="use tz_localize or tz_convert",
        )
    if frequency is not None and len(found.frame) > 1 and found.frequency != frequency:
        raise FrameError(
            "the times have another frequency than those that the model was fitted to",
            value=found.frequency,
            limit=frequency,
            fix="frame.asfreq(...)",
        )
    return found


def extended(found: Table, horizon: int) -> Table:
    """The table with `horizon` empty rows after the last row of each series."""
    if horizon == 0:
        return found
    pieces = []
    for one in found.series:
        index = continued(one.index, horizon, found.frequency)
        if one.name is not None:
            names = found.frame.index.names
            index = pd.MultiIndex.from_product([[one.name], index], names=names)
        empty = pd.DataFrame(index=index, columns=found.frame.columns, dtype="float64")
        piece = found.frame.iloc[one.rows]
        pieces += [piece, empty.astype(_holding_missing(piece.dtypes))]
    frame = pd.concat(pieces)
    frame.index.names = found.frame.index.names
    return table(frame)


def filled(
    found: Table,
    values: np.ndarray[Any, np.dtype[np.float64]],
    holes: np.ndarray[Any, np.dtype[np.bool_]] | None = None,
) -> Filled:
    """The frame with its missing cells replaced; every other cell is copied, to the bit.

    Parameters
    ----------
    values : (cells,) for the holes in order of rows, then columns; columns of whole numbers are
        rounded, and stay within what their dtype holds.
    holes : `found.holes`, when it is known already.
    """
    holes = found.holes if holes is None else holes
    full = np.zeros(holes.shape)
    full[holes] = values
    out = found.frame.copy()
    for j in np.flatnonzero(holes.any(axis=0)):
        column = out.iloc[:, j]
        where, new = holes[:, j], full[holes[:, j], j]
        if types.is_integer_dtype(column.dtype):
            ends = np.iinfo(getattr(column.dtype, "numpy_dtype", column.dtype))
            new = np.clip(np.rint(new), float(ends.min), float(ends.max))
        array = column.array.copy()
        array[where] = new.astype(getattr(column.dtype, "numpy_dtype", column.dtype))
        out.isetitem(j, pd.Series(array, index=out.index, dtype=column.dtype))
    result = Filled(out)
    result.holes, result.attrs = holes, dict(out.attrs)
    return result


def _frame(data: Any) -> pd.DataFrame:
    data = pandas_of(data)
    if isinstance(data, pd.Series):
        data = data.to_frame()
    if isinstance(data, np.ma.MaskedArray):
        data = data.astype(np.float64).filled(np.nan)
    if not isinstance(data, pd.DataFrame):
        array = None if hasattr(data, "toarray") else np.asarray(data)
        if array is None or np.iscomplexobj(array):
            what = "Sparse" if array is None else "Complex"
            # the words that scikit-learn's own refusals use
            raise FrameError(f"{what} data not supported: a frame is dense, of real numbers")
        if array.ndim != 2:
            raise FrameError(
                f"a table has two axes, (rows, columns): Reshape your data; got {array.ndim}D"
                " array",
                value=array.shape,
                fix="array.reshape(-1, 1) makes one column",
            )
        data = pd.DataFrame(array)
    if len(data) == 0 or data.shape[1] == 0:
        axis = "sample(s)" if len(data) == 0 else "feature(s)"
        raise FrameError(
            f"the frame is empty: 0 {axis} (shape={data.shape}) while a minimum of 1 is required."
        )
    return data


def _columns(frame: pd.DataFrame) -> tuple[str, ...]:
    names = tuple(str(c) for c in frame.columns)
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise FrameError("two columns have the same name", value=twice)
    return names


def _numbers(frame: pd.DataFrame, j: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A column as float64, NaN where missing."""
    name, column = frame.columns[j], frame.iloc[:, j]
    if isinstance(column.dtype, pd.CategoricalDtype):
        raise FrameError(
            f"column {name!r} holds categories, not numbers",
            value=list(column.cat.categories[:SHOWN]),
            fix="leave it out, or use pd.get_dummies",
        )
    if types.is_bool_dtype(column.dtype):
        raise FrameError(
            f"column {name!r} holds truth values, not numbers",
            fix="leave it out, or convert it with astype('float64')",
        )
    if types.is_datetime64_any_dtype(column.dtype) or isinstance(column.dtype, pd.PeriodDtype):
        raise FrameError(
            f"column {name!r} holds times, not numbers",
            value=str(column.iloc[0]),
            fix=f"frame.set_index({name!r})",
        )
    if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
        column = _from_objects(name, column)
    if not types.is_numeric_dtype(column.dtype) or types.is_complex_dtype(column.dtype):
        raise _no_number(name, column, column.notna().to_numpy())
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.isinf(values)
    if infinite.any():
        row = int(infinite.argmax())
        raise FrameError(
            f"column {name!r} has an infinity",
            value=f"{values[row]} at row {row} ({frame.index[row]})",
            fix="replace it by NaN if it is missing: frame.replace([np.inf, -np.inf], np.nan)",
        )
    _no_clock(frame, name, values)
    return values


def _no_clock(frame: pd.DataFrame, name: Any, values: np.ndarray[Any, Any]) -> None:
    """FrameError for a column of numbered rows that counts the seconds, or parts of them, since
    1970: it is no variable."""
    if not isinstance(frame.index, pd.RangeIndex) or len(values) < 3 or not values[0] > 1e8:
        return
    steps = np.diff(values)
    if bool((steps == steps[0]).all()) and steps[0] > 0 and not (values % 1).any():
        unit = next(u for u, most in _UNITS.items() if values[-1] < most)
        raise FrameError(
            f"column {name!r} counts on in equal steps, as times do",
            value=f"{values[0]:.0f}, {values[1]:.0f}, ..",
            fix=f"frame.set_index(pd.to_datetime(frame.pop({name!r}), unit={unit!r})), or of a file"
            f" time={name}",
        )


def _from_objects(name: Any, column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of Python objects, all of which are numbers."""
    found = pd.to_numeric(column, errors="coerce")
    words = column.map(lambda value: isinstance(value, str | bytes | bool | np.bool_))
    words = words.to_numpy(dtype=bool)
    bad = column.notna().to_numpy() & (found.isna().to_numpy() | words)
    if bad.any():  # of a file that has one word every cell is text: the word is what is wrong
        unread = bad & found.isna().to_numpy()
        raise _no_number(name, column, unread if unread.any() else bad)
    return found


def _no_number(name: Any, column: pd.Series[Any], bad: np.ndarray[Any, Any]) -> CellError:
    row = int(bad.argmax())
    return CellError(
        # the second half in the words of float(), which scikit-learn's users know
        f"column {name!r} holds what is no number: argument must be a string or a number",
        value=f"{column.iloc[row]!r} at row {row} ({column.index[row]})",
        limit="numbers",
        fix="leave the column out, or convert it with pd.to_numeric(..., errors='coerce')",
    )


def _parts(
    frame: pd.DataFrame,
) -> list[tuple[Any, np.ndarray[Any, np.dtype[np.int64]], pd.Index[Any]]]:
    """(name, rows, times) of each series."""
    index = frame.index
    if not isinstance(index, pd.MultiIndex):
        return [(None, np.arange(len(frame)), index)]
    if index.nlevels != 2:
        raise FrameError(
            "a panel has two index levels, (series, time)", value=[str(n) for n in index.names]
        )
    names, times = index.get_level_values(0), index.get_level_values(1)
    codes, labels = pd.factorize(names)
    if (codes < 0).any():
        raise FrameError("a row names no series", value=f"row {int((codes < 0).argmax())}")
    found = []
    for k, label in enumerate(labels):
        rows = np.flatnonzero(codes == k)
        found.append((label, rows, times[rows]))
    return found


def _holding_missing(dtypes: pd.Series[Any]) -> dict[Any, Any]:
    """Dtypes of rows that are missing: int64 cannot hold them, and becomes float64."""
    return {
        name: "float64" if isinstance(kind, np.dtype) and kind.kind in "iu" else kind
        for name, kind in dtypes.items()
    }
