"""Files of molecules: .smi, .csv and .sdf, plain or gzipped, record by record."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from rdkit import Chem, rdBase

from unnoise.errors import InputError, nearest

_KINDS: Final = (".smi", ".txt", ".csv", ".tsv", ".sdf", ".mol")
SUFFIXES: Final = (*_KINDS, *(f"{kind}.gz" for kind in _KINDS))
"""Names of files end with one of these; no SMILES does."""


def records(path: Path, column: str | None = None) -> Iterator[tuple[str, str | Chem.Mol]]:
    """(where, SMILES or Mol) of every record of a file; `where` names file and line or record.

    Raises InputError for a file that is missing, unreadable, cut off or of another kind, for a
    record that cannot be read, and for a column that is not there.
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


def _lines(file: IO[bytes], path: str) -> Iterator[tuple[str, str]]:
    for number, line in _text(file, path):
        if line.strip() and not line.startswith("#"):
            yield f"{path!r}, line {number}", line.strip()


def _table(
    file: IO[bytes], path: str, column: str | None, separator: str
) -> Iterator[tuple[str, str]]:
    rows = csv.reader((line for _, line in _text(file, path)), delimiter=separator)
    names = [name.strip() for name in next(rows, [])]
    wanted = column if column is not None else _smiles_column(names)
    if wanted is None or wanted not in names:
        raise InputError(
            f"{path!r} has no column {wanted or 'smiles'!r}",
            limit=", ".join(names) or "none: the file is empty",
            fix=nearest(wanted or "smiles", names) or "name the column of the SMILES with column=",
        )
    place = names.index(wanted)
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{path!r}, line {rows.line_num}"
        if len(row) <= place or not row[place].strip():
            raise InputError(f"{where} has no SMILES", value=",".join(row)[:80])
        yield where, row[place].strip()


def _smiles_column(names: list[str]) -> str | None:
    return next((name for name in names if name.lower() in ("smiles", "smile")), None)


def _text(file: IO[bytes], path: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path!r}, line {number} is not UTF-8 text") from error


def _structures(file: IO[bytes], path: str) -> Iterator[tuple[str, Chem.Mol]]:
    with rdBase.BlockLogs():
        for number, mol in enumerate(Chem.ForwardSDMolSupplier(file, removeHs=False), 1):
            where = f"{path!r}, record {number}"
            if mol is None:
                raise InputError(
                    f"{where} is not a possible molecule, or is damaged",
                    fix="open the file in RDKit to see why",
                )
            yield where, mol
