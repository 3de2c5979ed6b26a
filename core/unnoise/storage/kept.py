"""Rows of a long measurement, on the disk as they come, so that one that was stopped goes on.

A file of JSON lines: what the rows are of, and then {"key": ..., "row": ...} for each. What is kept
of something else (another model, another option) is refused, and a last line that a kill cut short
is forgotten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, final

from unnoise.errors import ConfigError, InputError
from unnoise.storage.files import disk_errors

Row = Mapping[str, Any]


@final
class Kept:
    """Rows by their keys; see `keeping`."""

    def __init__(self, rows: dict[str, Row], file: IO[bytes] | None) -> None:
        self._rows, self._file = rows, file

    def get(self, key: str) -> Row | None:
        """The row that is kept under `key`, if there is one."""
        return self._rows.get(key)

    def add(self, key: str, row: Row) -> Row:
        """Keep a row, of what can be written as JSON; it is on the disk afterwards.

        Raises LimitExceeded or InputError when the disk refuses.
        """
        if self._file is not None:
            with disk_errors("keeping a row", "run it again: what is kept is not lost"):
                self._file.write(_line({"key": key, "row": row}))
                self._file.flush()
                os.fsync(self._file.fileno())
        self._rows[key] = row
        return row


@contextmanager
def keeping(path: Path | None, of: Mapping[str, Any]) -> Iterator[Kept]:
    """The rows kept in the file `path`, which is made where there is none, and added to; None for
    rows that nothing keeps.

    Parameters
    ----------
    of : all that decides a row, by name: the hash of a model, options.

    Raises
    ------
    ConfigError : the rows in the file are of something else.
    InputError : the file is no such file, or cannot be written.
    """
    if path is None:
        yield Kept({}, None)
        return
    header = {"kept": json.loads(json.dumps(of))}
    with disk_errors(f"keeping rows in {str(path)!r}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.read_bytes() if path.exists() else b""
    whole = held[: held.rfind(b"\n") + 1]
    if not whole and not _line(header).startswith(held):
        raise _foreign(path)
    rows = _rows(path, whole.splitlines(), header) if whole else {}
    with disk_errors(f"keeping rows in {str(path)!r}"):
        file = open(path, "ab")  # noqa: SIM115 (what goes wrong below is not the disk's refusal)
    with file:
        file.truncate(len(whole))
        if not whole:
            file.write(_line(header))
            file.flush()
        yield Kept(rows, file)


def _rows(path: Path, lines: list[bytes], header: Mapping[str, Any]) -> dict[str, Row]:
    try:
        first, *others = map(json.loads, lines)
        before, rows = dict(first["kept"]), {one["key"]: one["row"] for one in others}
    except (ValueError, LookupError, TypeError) as error:
        raise _foreign(path) from error
    now = header["kept"]
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if names:
        text = ", ".join(f"{n} was {before.get(n)!r} and is {now.get(n)!r}" for n in names)
        raise ConfigError(
            f"the rows in {str(path)!r} are of something else: {text}",
            fix="repeat the options of those rows, or keep these in another file",
        )
    return rows


def _foreign(path: Path) -> InputError:
    return InputError(
        f"{str(path)!r} holds no rows that were kept, or is damaged",
        fix="name a file that is not there yet",
    )


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
