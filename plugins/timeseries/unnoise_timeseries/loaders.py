"""Files to data frames: CSV, parquet, Excel; folders of PhysioNet 2012; CSV of air quality."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pandas as pd

from unnoise.errors import InputError
from unnoise_timeseries.frames import FrameError
from unnoise_timeseries.times import frequency_of

TABLES: Final = (".csv", ".gz", ".xz", ".bz2", ".zip", ".parquet", ".xlsx", ".xls")
MISSING: Final = ("?", "NA", "NaN", "nan", "null", "NULL", "-", "")
STATIC: Final = ("RecordID", "Age", "Gender", "Height", "ICUType")
"""Parameters of a PhysioNet patient that are no series."""
_NUMBERS = r"^\s*(?P<a>\d{1,2})[/.-](?P<b>\d{1,2})[/.-](?P<year>\d{4}|\d{2})(?P<rest>(?:\D.*)?)$"
_OFFSET = r"(?:Z|[+-]\d{2}:?\d{2})\s*$"


def load(
    source: Any,
    time: str | Sequence[str] | None = None,
    series: str | None = None,
    columns: Sequence[str] | None = None,
) -> Any:
    """A frame from a file or folder; frames and arrays are returned as they are.

    Parameters
    ----------
    source : CSV (also packed), parquet or Excel; or a folder of PhysioNet records.
    time : the column of times, or columns year, month, day, (hour, minute); by default the first
        column that is not made of numbers, when it can be read as times.
    series : the column that names the series of a panel.
    columns : the variables; by default every other column.

    Raises
    ------
    InputError : no such file, a kind that is not read, a damaged file, a column that is not there,
        times that are none.
    """
    if not isinstance(source, str | Path):
        if time is not None or series is not None:
            raise InputError(
                "time and series name columns of a file; a frame carries them in its index",
                fix="frame.set_index(...)",
            )
        return source if columns is None else _only(source, list(columns))
    path = Path(source)
    if path.is_dir():
        return physionet(path)
    frame = read_file(path)
    if "Unnamed: 0" in frame.columns and time is None:  # an index that was written without a name
        frame = frame.rename(columns={"Unnamed: 0": "time"})
    frame = _timed(frame, time, series, path)
    return frame if columns is None else _only(frame, list(columns))


def read_file(path: Path) -> pd.DataFrame:
    """The table in a file, as it is. Values marked ? - NA NaN null, or empty, are missing."""
    if not path.is_file():
        raise InputError("there is no such file", value=str(path))
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        if suffix in (".xlsx", ".xls"):
            _check_names(pd.read_excel(path, header=None, nrows=1, dtype=str), path)
            return pd.read_excel(path, na_values=list(MISSING))
        if suffix in TABLES:
            _check_names(pd.read_csv(path, header=None, nrows=1, dtype=str), path)
            return read_csv(path, na_values=list(MISSING), low_memory=False)
    except ImportError as error:
        raise InputError(f"a package is missing to read {path.name!r}: {error}") from error
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise InputError(
            f"{str(path)!r} cannot be read: {str(error).splitlines()[0]}",
            fix="is it whole, and what its name says?",
        ) from error
    raise InputError("this kind of file is not read", value=suffix, limit=", ".join(TABLES))


def _check_names(first: pd.DataFrame, path: Path) -> None:
    """Refuse two columns of one name, of which pandas would call the second NAME.1."""
    names = first.iloc[0].dropna() if len(first) else pd.Series(dtype=str)
    if twice := names[names.duplicated()].tolist():
        raise InputError(
            f"two columns of {str(path)!r} have one name", value=twice[0], fix="rename one"
        )


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """`pandas.read_csv`, numbers being read to the last bit."""
    release = tuple(int(part) for part in pd.__version__.split(".")[:2])
    # before 3.1 the default is off by one last bit in places; from then on it is exact
    exact = {"float_precision": "round_trip"} if release < (3, 1) else {}
    return pd.read_csv(path, **exact, **options)


def physionet(folder: str | Path) -> pd.DataFrame:
    """A folder of records of the PhysioNet 2012 challenge (one `RecordID.txt` each: lines
    `HH:MM,Parameter,Value`) as a panel of 48 hourly rows each. The last value of an hour counts
    and -1 is missing; what is no series (age, ...) is left out.

    Raises InputError for a folder without records, and for a damaged one, naming file and line.
    """
    files = sorted(Path(folder).glob("*.txt"))
    if not files:
        raise InputError("the folder holds no PhysioNet records (*.txt)", value=str(folder))
    frames = {path.stem: _record(path) for path in files}
    every = sorted(set().union(*(set(frame.columns) for frame in frames.values())))
    wide = {name: frame.reindex(columns=every) for name, frame in frames.items()}
    return pd.concat(wide, names=["record", "hour"])


def _record(path: Path) -> pd.DataFrame:
    values: dict[str, dict[int, float]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if number == 1 and line.startswith("Time"):
            continue
        try:
            clock, name, text = line.split(",")
            hour, value = int(clock.split(":")[0]), float(text)
        except ValueError as error:
            raise InputError(
                f"{path.name} line {number} is not 'HH:MM,Parameter,Value'", value=line[:60]
            ) from error
        if name and name not in STATIC and 0 <= hour < 48 and value != -1:
            values.setdefault(name, {})[hour] = value
    frame = pd.DataFrame(index=pd.RangeIndex(48), dtype="float64")
    return frame.assign(**{name: pd.Series(found) for name, found in values.items()})


def _timed(
    frame: pd.DataFrame, time: str | Sequence[str] | None, series: str | None, path: Path
) -> pd.DataFrame:
    """The frame with its index set from columns."""
    named = [time] if isinstance(time, str) else list(time or ())
    for name in [*named, *([series] if series else [])]:
        if name not in frame.columns:
            raise InputError(
                f"{path.name} has no column {name!r}", limit=", ".join(map(str, frame.columns))
            )
    if len(named) > 1:
        parts = frame[named].set_axis(
            ["year", "month", "day", "hour", "minute"][: len(named)], axis=1
        )
        stamps = times_of(parts, "+".join(named))
        frame = frame.drop(columns=named)
        frame.insert(0, "time", stamps)
        named = ["time"]
    elif not named and isinstance(frame.index, pd.RangeIndex):
        # times are the first column of words
        words = [c for c in frame.columns if frame[c].dtype.kind not in "iufb" and c != series]
        if words and _some_times(frame[words[0]]):
            frame[words[0]] = times_of(frame[words[0]], str(words[0]))
            named = [words[0]]
    elif named and frame[named[0]].dtype.kind not in "iuM":
        frame[named[0]] = times_of(frame[named[0]], named[0])
    if series is not None:
        if not named:
            raise InputError("the series of a panel need times", fix="pass time=")
        return frame.set_index([series, named[0]])
    return frame.set_index(named[0]) if named else frame


def _some_times(column: Any) -> bool:
    found = pd.to_datetime(column, errors="coerce", format="mixed", utc=True)
    return bool(found.notna().any())


def times_of(column: Any, name: str) -> Any:
    """The times in a column: ISO 8601 or what pandas reads; days and months in either order where
    only one makes sense; with offsets that change, as summer time does, in UTC.

    Raises FrameError for what is no time, for mixed kinds, and where either order would do.
    """
    if isinstance(column, pd.Series | pd.Index) and column.dtype.kind not in "iufM":
        parts = column.astype("string").str.extract(_NUMBERS)
        if len(parts) and parts["rest"].notna().all():
            return _ordered(column, parts, name)
    try:
        return pd.to_datetime(column)
    except (ValueError, TypeError) as error:
        if "utc" in str(error).lower() or "time zone" in str(error).lower():
            if column.astype("string").str.contains(_OFFSET).all():
                return pd.to_datetime(column, utc=True)
            raise FrameError(
                f"some of the times in {name!r} carry a time zone, and others none",
                value=str(column[0] if isinstance(column, pd.Index) else column.iloc[0]),
                fix="write all of them in one zone",
            ) from error
        found = pd.Series(pd.to_datetime(column, errors="coerce"))
        row = int(found.isna().to_numpy().argmax())
        raise FrameError(
            f"column {name!r} holds what is no time",
            value=f"{pd.Series(column).iloc[row]!r} at row {row}",
        ) from error


def _ordered(column: Any, parts: pd.DataFrame, name: str) -> Any:
    """Dates like 31/12/2024 or 12/31/2024: the order in which they are dates of equal steps."""
    year = parts["year"].astype(int)
    year = year.mask(parts["year"].str.len() == 2, year + 2000 - 100 * (year > 68))
    found = {}
    for order in (("day", "month"), ("month", "day")):
        own = parts.set_axis([*order, "year", "rest"], axis=1)
        text = year.astype(str) + "-" + own["month"] + "-" + own["day"] + own["rest"]
        with suppress(ValueError):
            times = pd.to_datetime(text, format="mixed")
            found[order] = times.to_numpy() if isinstance(column, pd.Series) else times
    if len(found) > 1:
        equal = {order: times for order, times in found.items() if _equal(times)}
        found = equal or found
    if len(found) == 1:
        (times,) = found.values()
        return pd.Series(times, column.index) if isinstance(column, pd.Series) else pd.Index(times)
    first = pd.Series(column).iloc[0]
    what = "day first or month first: either would do" if found else "dates of neither order"
    raise FrameError(
        f"the times in {name!r} are {what}",
        value=str(first),
        fix="write them as 2024-12-31",
    )


def _equal(times: Any) -> bool:
    try:
        frequency_of(pd.DatetimeIndex(times))
    except FrameError:
        return False
    return True


def _only(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise InputError(
            f"there is no column {missing[0]!r}", limit=", ".join(map(str, frame.columns))
        )
    return frame[columns]
