"""Reading documents, one after the other: nothing but the current one is in memory."""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from unnoise.errors import InputError, left_out
from unnoise.storage.reading import json_of, separated, whole

SUFFIXES: Final = (".txt", ".md", ".jsonl", ".csv", ".tsv", ".parquet")
_FIELDS: Final = ("text", "content", "document")
"""Where the text is looked for when no field is named."""


def documents(source: str | Path, field: str | None = None) -> Iterator[str]:
    """The texts of a file or folder, without the empty ones.

    A .txt or .md file is one document; each line of .jsonl and each row of .csv, .tsv and .parquet
    is one, its text in `field`. A folder is its files in order of names, or a saved data set of
    Hugging Face.

    Raises InputError, naming the file: nothing to read, not UTF-8, damaged, no such field.
    """
    found = False
    for _, text in _with_empty(source, field):
        if text.strip():
            found = True
            yield text
    if not found:
        raise InputError("the data hold no text", value=str(source))


def counted(source: str | Path, field: str | None = None) -> int:
    """How many `documents` there are, with a warning that names what is not read: files of other
    kinds, and files, or rows, without text."""
    number, empty = 0, Counter[str]()
    for path, text in _with_empty(source, field):
        number += bool(text.strip())
        empty[path.name] += not text.strip()
    if number:
        named = [f"{name} ({n})" if n > 1 else name for name, n in empty.items() if n]
        left_out(named, f"files in {str(source)!r} have documents without text, left out")
    left_out(_other(Path(source)), f"files in {str(source)!r} are no text and were left out")
    if not number:
        raise InputError("the data hold no text", value=str(source))
    return number


def _with_empty(source: str | Path, field: str | None) -> Iterator[tuple[Path, str]]:
    for path in _files(Path(source)):
        for text in _READERS[path.suffix.lower() if path.is_file() else ""](path, field):
            yield path, text


def _other(source: Path) -> list[str]:
    """Files of a folder that are not read, hidden ones aside."""
    read = {*_files(source)}
    if source in read:
        return []
    return [
        path.relative_to(source).as_posix()
        for path in sorted(source.rglob("*"))
        if (path.is_file() or not path.exists())  # or a link to nothing
        and path not in read
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
    ]


def _files(source: Path) -> list[Path]:
    if source.is_file():
        if source.suffix.lower() not in SUFFIXES:
            raise InputError("this is no text file", value=str(source), limit=", ".join(SUFFIXES))
        return [source]
    if not source.is_dir():
        raise InputError("there is no such file or folder", value=str(source))
    if any((source / name).is_file() for name in ("dataset_info.json", "dataset_dict.json")):
        return [source]
    found = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise InputError(
            f"{str(source)!r} holds no text files",
            limit=f"{', '.join(SUFFIXES)}, or a saved data set",
        )
    return found


def _plain(path: Path, field: str | None) -> Iterator[str]:
    try:
        yield path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        with path.open("rb") as file:  # two bytes begin a file of UTF-16, as Windows writes them
            written = "utf-16" if file.read(2) in (BOM_UTF16_LE, BOM_UTF16_BE) else "latin1"
        raise InputError(
            f"{str(path)!r} is not UTF-8",
            value=f"byte {error.start}",
            fix=f"convert it with iconv -f {written} -t utf-8",
        ) from error
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}") from error


def _lines(path: Path, field: str | None) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _text(_row(line, path, number), field, f"{str(path)!r}, line {number}")
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not UTF-8", value=f"byte {error.start}") from error


def _table(path: Path, field: str | None) -> Iterator[str]:
    separator, what = "\t" if path.suffix.lower() == ".tsv" else ",", repr(str(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names, rows = separated(file, what, separator)
            name = _field(names, field, what)
            for line, row in rows:
                yield _string(row[name], name, f"{what}, line {line}")
    except UnicodeDecodeError as error:
        raise InputError(f"{what} is not UTF-8", value=f"byte {error.start}") from error


def _row(line: str, path: Path, number: int) -> Any:
    try:
        return json_of(line)
    except ValueError as error:
        raise InputError(f"{str(path)!r}, line {number} is not JSON: {error}") from error


def _parquet(path: Path, field: str | None) -> Iterator[str]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise InputError(
            "reading parquet needs pyarrow", value=str(path), fix="pip install pyarrow"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            name = _field(file.schema_arrow.names, field, repr(str(path)))
            for batch in file.iter_batches(batch_size=256, columns=[name]):
                yield from (_string(row, name, repr(str(path))) for row in batch[0].to_pylist())
    except (ArrowException, OSError) as error:
        raise InputError(f"{str(path)!r} is not a parquet file: {error}") from error


def _saved(path: Path, field: str | None) -> Iterator[str]:
    try:
        from datasets import DatasetDict, load_from_disk
    except ImportError as error:
        raise InputError(
            "this is a saved data set of Hugging Face, which needs datasets",
            value=str(path),
            fix="pip install datasets",
        ) from error
    try:
        data = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} is no saved data set: {error}") from error
    if isinstance(data, DatasetDict):
        if "train" not in data:
            raise InputError(f"{str(path)!r} has no part called train", limit=sorted(data))
        data = data["train"]
    name = _field(data.column_names, field, repr(str(path)))
    yield from (_string(row[name], name, repr(str(path))) for row in data)


_READERS: dict[str, Callable[[Path, str | None], Iterator[str]]] = {
    ".txt": _plain,
    ".md": _plain,
    ".jsonl": _lines,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet,
    "": _saved,
}


def _text(row: Any, field: str | None, where: str) -> str:
    if isinstance(row, str) and field is None:
        return whole(row, where)
    if not isinstance(row, dict):
        raise InputError(f"{where} is not an object with a field of text", value=type(row).__name__)
    name = _field(list(row), field, where)
    return _string(row[name], name, where)


def _field(names: list[str], field: str | None, where: str) -> str:
    wanted = _FIELDS if field is None else (field,)
    for name in wanted:
        if name in names:
            return name
    raise InputError(
        f"{where} has no field {' or '.join(wanted)}",
        value=names[:12],
        fix="name the field of the text with field=",
    )


def _string(value: Any, name: str, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{where}: field {name!r} is not text", value=type(value).__name__)
    return whole(value, where)
