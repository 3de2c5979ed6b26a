"""Tables of requests: a row is a mapping of fields to values, without those that say nothing."""

from __future__ import annotations

import csv
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias, final

from unnoise.errors import InputError
from unnoise.storage.reading import json_of

Row: TypeAlias = "dict[str, Any]"
RESULTS: Final = ("row", "sample", "file", "sha256", "error")
"""Columns that results add: the row's number from 0, the sample's number, its file below the folder
of results and what it hashes to; or why there is none."""
_BATCH: Final = 1024  # rows of a parquet file that are read at once


class Table(ABC):
    """A file of rows.

    Attributes
    ----------
    columns : their names.
    words : whether the values are words, as on a command line, and not yet of a type.
    """

    words: ClassVar[bool] = False
    columns: Sequence[str]

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """The rows, in order; what a row leaves empty is not in it."""

    @abstractmethod
    def write(self, target: Path, found: Iterator[list[Mapping[str, Any]]]) -> None:
        """The table again, each row as often as it has results, with RESULTS as further columns.
        `found` has the results of each row, in order."""


@final
class Words(Table):
    """CSV, or with tabs; UTF-8, the names of the columns in its first line."""

    words = True

    def __init__(self, path: Path, delimiter: str) -> None:
        super().__init__(path)
        self._delimiter = delimiter
        lines = self._lines()
        self.columns = next(lines, [])
        if not all(name.strip() for name in self.columns) or not self.columns:
            raise InputError(
                f"the first line of {str(path)!r} names the columns",
                value=self._delimiter.join(self.columns),
            )

    def _lines(self) -> Iterator[list[str]]:
        with readable(self.path), open(self.path, encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(csv.reader(file, delimiter=self._delimiter, strict=True)):
                if not line:  # an empty line is no row
                    continue
                if number and len(line) != len(self.columns):
                    raise InputError(
                        f"line {number + 1} of {str(self.path)!r} has another number of cells",
                        value=len(line),
                        limit=f"{len(self.columns)}, as its first line",
                        fix="put a text that holds the separator in quotes",
                    )
                yield line

    def rows(self) -> Iterator[Row]:
        lines = self._lines()
        next(lines)
        for line in lines:
            yield {n: cell for n, cell in zip(self.columns, line, strict=True) if cell != ""}

    def write(self, target: Path, found: Iterator[list[Mapping[str, Any]]]) -> None:
        lines = self._lines()
        next(lines)
        with open(target, "w", encoding="utf-8", newline="") as file:
            to = csv.writer(file, delimiter=self._delimiter, lineterminator="\n")
            to.writerow([*self.columns, *RESULTS])
            for line, results in zip(lines, found, strict=True):
                to.writerows([*line, *(one.get(name) for name in RESULTS)] for one in results)


@final
class JsonLines(Table):
    """An object in each line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.columns = list(dict.fromkeys(name for row in self._objects() for name in row))

    def _objects(self) -> Iterator[Row]:
        with readable(self.path), open(self.path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file):
                if not line.strip():
                    continue
                row = json_of(line, once=True)
                if not isinstance(row, dict):
                    raise InputError(
                        f"line {number + 1} of {str(self.path)!r} is no object",
                        value=line.strip()[:80],
                    )
                yield row

    def rows(self) -> Iterator[Row]:
        for row in self._objects():
            yield {name: value for name, value in row.items() if value is not None}

    def write(self, target: Path, found: Iterator[list[Mapping[str, Any]]]) -> None:
        # half a character, for which its row has an error, is written as it was: \ud83d
        with open(target, "w", encoding="utf-8", errors="backslashreplace") as file:
            for row, results in zip(self._objects(), found, strict=True):
                for one in results:
                    file.write(json.dumps({**row, **one}, ensure_ascii=False) + "\n")


@final
class Parquet(Table):
    """A parquet file; null and NaN say nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._open() as file:
            self.columns = list(file.schema_arrow.names)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise InputError(
                "reading parquet needs pyarrow", value=str(self.path), fix="pip install pyarrow"
            ) from error
        with readable(self.path):
            try:
                with ParquetFile(self.path) as file:
                    yield file
            except ArrowException as error:
                raise InputError(
                    "this parquet file cannot be read",
                    value=str(self.path),
                    fix=str(error).splitlines()[0],
                ) from error

    def rows(self) -> Iterator[Row]:
        with self._open() as file:
            for batch in file.iter_batches(_BATCH):
                for row in batch.to_pylist():
                    yield {name: value for name, value in row.items() if _says(value)}

    def write(self, target: Path, found: Iterator[list[Mapping[str, Any]]]) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        kinds = (pa.int64(), pa.int64(), pa.string(), pa.string(), pa.string())
        own = [pa.field(name, kind) for name, kind in zip(RESULTS, kinds, strict=True)]
        with self._open() as file:
            schema = pa.schema([*file.schema_arrow, *own])
            with ParquetWriter(target, schema) as to:
                for batch in file.iter_batches(_BATCH):
                    results = [next(found) for _ in range(batch.num_rows)]
                    places = [k for k, several in enumerate(results) for _ in several]
                    flat = [one for several in results for one in several]
                    columns = batch.take(pa.array(places, pa.int64())).columns
                    added = [pa.array([r.get(f.name) for r in flat], f.type) for f in own]
                    to.write_batch(pa.record_batch([*columns, *added], schema=schema))


_KINDS: Final = {
    ".csv": lambda path: Words(path, ","),
    ".tsv": lambda path: Words(path, "\t"),
    ".jsonl": JsonLines,
    ".parquet": Parquet,
}


def table(path: Path) -> Table:
    """The table in a file, by its ending.

    Raises InputError for another ending, a file that cannot be read or is damaged, columns without
    a name or with one that is taken.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            "a table of requests is known by its ending", value=str(path), limit=", ".join(_KINDS)
        )
    found = kind(path)
    twice = {name for name in found.columns if list(found.columns).count(name) > 1}
    if twice:
        raise InputError("two columns have one name", value=sorted(twice)[0])
    if taken := set(RESULTS) & set(found.columns):
        raise InputError(
            "the results have columns of this name", value=sorted(taken)[0], fix="rename it"
        )
    return found


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What goes wrong while reading `path` as an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            "this table cannot be read", value=str(path), fix=error.strerror or str(error)
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{str(path)!r} is not UTF-8", value=f"byte {error.start}", fix="save it as UTF-8"
        ) from error
    except (csv.Error, ValueError) as error:
        raise InputError(
            f"{str(path)!r} is damaged", value=str(error), fix="write it anew"
        ) from error


def _says(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
