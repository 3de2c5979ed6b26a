"""Files of molecules: .smi, .csv and .sdf, plain or gzipped, record by record.

A record that cannot be read is a record all the same: what is wrong with it stands in its place,
so that whoever reads decides whether the others are used.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, final

from rdkit import Chem, rdBase

from unnoise.errors import InputError, nearest

_KINDS: Final = (".smi", ".smiles", ".txt", ".csv", ".tsv", ".sdf", ".mol")
SUFFIXES: Final = (*_KINDS, *(f"{kind}.gz" for kind in _KINDS))
"""Names of files end with one of these; no SMILES does."""
_NAMES: Final = ("name", "id", "title", "molecule", "compound")
"""Columns of a table that name its molecules, the first of them that is there."""


@final
@dataclass(frozen=True, eq=False)
class Record:
    """One molecule as it was given.

    Attributes
    ----------
    where : file and line or record.
    item : SMILES, InChI, a Mol, or what is wrong with the record.
    name : of the molecule, "" without one.
    columns : what a table says of it beside, by name.
    """

    where: str
    item: str | Chem.Mol | InputError
    name: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


def records(path: Path, column: str | None = None) -> Iterator[Record]:
    """Every record of a file.

    Raises InputError for a file that is missing, unreadable, cut off or of another kind, and for a
    column that is not there.
    """
    kind = next((k for k in _KINDS if path.name.endswith((k, f"{k}.gz"))), None)
    if kind is None:
        raise InputError(
            f"{str(path)!r} is of no kind that is known", limit=", ".join((*_KINDS, "or .gz"))
        )
    if column is not None and kind not in (".csv", ".tsv"):
        raise InputError(f"{str(path)!r} has no columns", value=column, fix="leave column out")
    with opened(path) as file:
        if kind in (".sdf", ".mol"):
            yield from _structures(file, str(path))
        elif kind in (".csv", ".tsv"):
            yield from _table(file, str(path), column, "," if kind == ".csv" else "\t")
        else:
            yield from _lines(file, str(path))


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file, unpacked if gzipped; InputError, naming it, when it cannot be read to its end."""
    if "\0" in str(path):  # no name that a file can have
        raise InputError(f"there is no file {str(path)!r}")
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if packed:
                with gzip.open(raw) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield raw
    except FileNotFoundError as error:
        raise InputError(f"there is no file {str(path)!r}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{str(path)!r} is damaged or cut off: {error}") from error
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}") from error


def _lines(file: IO[bytes], path: str) -> Iterator[Record]:
    for number, line in _text(file):
        where = f"{path!r}, line {number}"
        if not _decoded(line):
            yield Record(where, InputError(f"{where} is not UTF-8 text"))
        elif line.strip() and not line.startswith("#"):
            yield Record(where, line.strip())


def _table(file: IO[bytes], path: str, column: str | None, separator: str) -> Iterator[Record]:
    rows = csv.reader((line for _, line in _text(file)), delimiter=separator)
    names = [name.strip() for name in next(rows, [])]
    wanted = column if column is not None else _first(names, ("smiles", "smile", "inchi"))
    if wanted is None or wanted not in names:
        raise InputError(
            f"{path!r} has no column {wanted or 'smiles'!r}",
            limit=", ".join(names) or "none: the file is empty",
            fix=nearest(wanted or "smiles", names) or "name the column of the SMILES with column=",
        )
    if names.count(wanted) > 1:
        raise InputError(f"two columns of {path!r} have one name", value=wanted, fix="rename one")
    title = _first([name for name in names if name != wanted], _NAMES)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            where = f"{path!r}, line {rows.line_num}"
            yield Record(where, InputError(f"{where} is no row of a table: {error}"))
            continue
        if row is None:
            return
        if any(cell.strip() for cell in row):
            where = f"{path!r}, line {rows.line_num}"
            if any(cell.strip() for cell in row[len(names) :]):
                what = "has another number of cells"
                yield Record(where, InputError(f"{where} {what}", value=len(row), limit=len(names)))
                continue
            yield _row(dict(zip(names, map(str.strip, row), strict=False)), where, wanted, title)


def _row(cells: dict[str, str], where: str, wanted: str, title: str | None) -> Record:
    smiles = cells.pop(wanted, "")
    item: str | InputError = smiles
    if not all(map(_decoded, (smiles, *cells.values()))):
        item, cells = InputError(f"{where} is not UTF-8 text"), {}
    elif not smiles:
        item = InputError(f"{where} has no SMILES", value=",".join(cells.values())[:80])
    name = cells.get(title, "") if title is not None else ""
    return Record(where, item, name, {key: value for key, value in cells.items() if key and value})


def _first(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    low = {name.lower(): name for name in reversed(names)}
    return next((low[name] for name in wanted if name in low), None)


def _text(file: IO[bytes]) -> Iterator[tuple[int, str]]:
    """Lines by number; bytes that are no UTF-8 are kept as what `_decoded` sees."""
    for number, line in enumerate(file, 1):
        yield number, line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")


def _decoded(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _structures(file: IO[bytes], path: str) -> Iterator[Record]:
    with rdBase.BlockLogs():
        for number, mol in enumerate(Chem.ForwardSDMolSupplier(file, removeHs=False), 1):
            where = f"{path!r}, record {number}"
            wrong = InputError(
                f"{where} is not a possible molecule, or is damaged",
                fix="open the file in RDKit to see why",
            )
            yield Record(where, wrong if mol is None else mol)
