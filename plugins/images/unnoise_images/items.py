"""Pictures that are numbered and no files: what a Python program holds, and parquet tables.

A list, a torch Dataset or one of `datasets` gives pictures (PIL, arrays, tensors (C, H, W)), or
pairs (picture, label), or mappings with "image" and "label"; a label is the name of a class, or the
number of one of `classes`. A parquet file has the same as columns, as `datasets` writes them and
hubs keep them: "image" with the bytes of a file, "label" with names or numbers, and the names of
the numbers in the schema. Pictures are read when they are asked for, and not kept.
"""

from __future__ import annotations

import bisect
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from torch import Tensor

from unnoise.errors import InputError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

IMAGE: Final = "image"
LABEL: Final = "label"
_NAMED = 5


class Items(ABC):
    """Numbered pictures."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def picture(self, number: int) -> Any:
        """A picture, as PIL, array, tensor or the bytes of a file."""

    @abstractmethod
    def labels(self) -> list[int | str | None]:
        """Of all, without decoding pictures where that can be helped."""

    def names(self) -> tuple[str, ...]:
        """The names of the classes that numbers stand for; none where it is not said."""
        return ()


@final
class Held(Items):
    """The items of a sequence or a torch Dataset."""

    def __init__(self, source: Any) -> None:
        try:
            self._count = len(source)
            if self._count:
                source[0]
        except (TypeError, KeyError) as error:
            raise InputError(
                "the data must be a folder, a parquet file, or pictures that have a length and a"
                " number each",
                value=type(source).__name__,
            ) from error
        self._source = source

    def __len__(self) -> int:
        return self._count

    def picture(self, number: int) -> Any:
        item = self._source[number]
        if isinstance(item, Mapping):
            if IMAGE not in item:
                raise InputError("an item has no image", value=sorted(item)[:_NAMED], limit=IMAGE)
            return _embedded(item[IMAGE], number)
        return item[0] if _is_pair(item) else item

    def labels(self) -> list[int | str | None]:
        found = []
        for number in range(len(self)):
            item = self._source[number]
            label = item.get(LABEL) if isinstance(item, Mapping) else None
            found.append(_label(item[1] if _is_pair(item) else label))
        return found


@final
class OfDatasets(Items):
    """A set of `datasets`: its labels are a column of their own."""

    def __init__(self, source: Any) -> None:
        if IMAGE not in source.column_names:
            raise InputError(
                "the set has no column of pictures",
                value=source.column_names[:_NAMED],
                limit=IMAGE,
                fix=f"rename_column(..., {IMAGE!r})",
            )
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def picture(self, number: int) -> Any:
        return _embedded(self._source[number][IMAGE], number)

    def labels(self) -> list[int | str | None]:
        if LABEL not in self._source.column_names:
            return [None] * len(self)
        return [_label(label) for label in self._source[LABEL]]

    def names(self) -> tuple[str, ...]:
        return tuple(getattr(self._source.features.get(LABEL), "names", None) or ())


@final
class Tables(Items):
    """Parquet files, one after the other; a picture is read with the group of rows that it is in,
    the last group being kept."""

    def __init__(self, paths: Sequence[Path]) -> None:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise InputError(
                "parquet files need pyarrow", fix="pip install 'unnoise-images[parquet]'"
            ) from error
        self._groups: list[tuple[ParquetFile, int]] = []
        self._ends: list[int] = []
        for path in paths:
            try:
                file = ParquetFile(path)
            except (ArrowException, OSError) as error:
                raise InputError(f"{str(path)!r} is no parquet file, or damaged") from error
            if IMAGE not in file.schema_arrow.names:
                raise InputError(
                    f"{str(path)!r} has no column of pictures",
                    value=file.schema_arrow.names[:_NAMED],
                    limit=IMAGE,
                )
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                self._groups.append((file, group))
                self._ends.append(rows + (self._ends[-1] if self._ends else 0))
        self._schemas = [file.schema_arrow for file, _ in self._groups]
        self._last: tuple[int, list[Any]] = (-1, [])

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def picture(self, number: int) -> Any:
        group = bisect.bisect_right(self._ends, number)
        if self._last[0] != group:
            self._last = (group, self._column(group, IMAGE))
        first = self._ends[group - 1] if group else 0
        return _embedded(self._last[1][number - first], number)

    def labels(self) -> list[int | str | None]:
        found: list[int | str | None] = []
        for group, schema in enumerate(self._schemas):
            first = self._ends[group - 1] if group else 0
            absent = [None] * (self._ends[group] - first)
            rows = self._column(group, LABEL) if LABEL in schema.names else absent
            found += [_label(row) for row in rows]
        return found

    def names(self) -> tuple[str, ...]:
        """As `datasets` writes them into the schema."""
        try:
            told = json.loads((self._schemas[0].metadata or {})[b"huggingface"])
            return tuple(map(str, told["info"]["features"][LABEL]["names"]))
        except (IndexError, ValueError, KeyError, TypeError):
            return ()

    def _column(self, group: int, name: str) -> list[Any]:
        file, number = self._groups[group]
        found: list[Any] = file.read_row_group(number, columns=[name])[name].to_pylist()
        return found


def items_of(source: Any) -> Items:
    """What a Python program holds.

    Raises InputError for what has no length or no numbered items.
    """
    library = sys.modules.get("datasets")
    if library is not None and isinstance(source, library.Dataset):
        return OfDatasets(source)
    return Held(source)


def tables_of(path: Path) -> list[Path]:
    """The parquet files that `path` is, or that lie in it with no pictures beside them, in order of
    names; those of `train` alone where the names say of which part they are."""
    if path.suffix.lower() == ".parquet" and path.is_file():
        return [path]
    if not path.is_dir():
        return []
    found = sorted(path.glob("*.parquet")) or sorted((path / "data").glob("*.parquet"))
    return [one for one in found if one.name.startswith("train")] or found


def _embedded(value: Any, number: int) -> Any:
    """The bytes of a file where a picture is kept as that, alone or with its path."""
    if not isinstance(value, Mapping):
        return value
    data = value.get("bytes")
    if not isinstance(data, bytes):
        raise InputError(
            "a picture of a table is the bytes of its file",
            value=f"item {number}: {value.get('path')!r}",
            fix="write the set with its pictures embedded",
        )
    return data


def _is_pair(item: Any) -> bool:
    return isinstance(item, (tuple, list)) and len(item) == 2


def _label(label: Any) -> int | str | None:
    if isinstance(label, np.generic) or (isinstance(label, Tensor) and label.numel() == 1):
        label = label.item()
    if label is None or isinstance(label, str):
        return label
    if isinstance(label, (int, float)) and float(label).is_integer():
        return int(label)
    raise InputError(
        "a label is the name of a class or its number", value=label, limit='"cat", or 0, 1, ..'
    )
