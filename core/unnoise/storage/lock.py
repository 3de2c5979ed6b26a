"""One writer at a time: a lock on a folder that ends with its process, however that ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from unnoise.errors import InputError
from unnoise.storage.files import disk_errors

LOCK = ".lock"


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """While entered, nobody else enters with this folder, in this process or another.

    The operating system holds the lock on the file `.lock`, which says who has it.

    Raises InputError when somebody else is in, saying who, or the file cannot be written.
    """
    path = folder / LOCK
    with disk_errors(f"locking {str(folder)!r}"):
        file = open(path, "a+b")  # noqa: SIM115 - errors inside are those of the work
    with file:
        if not _take(file) or not _is(file, path):
            file.seek(0)
            owner = file.read(100).decode("utf-8", "replace").strip() or "unknown"
            raise InputError(
                f"somebody is {doing} {str(folder)!r} already",
                value=f"process {owner}",
                fix="wait for it, or choose another folder",
            )
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _is(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is still that of this name: who was in before may have removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _take(file: IO[bytes]) -> bool:
        try:
            file.seek(1000)  # what others may read lies before it
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
