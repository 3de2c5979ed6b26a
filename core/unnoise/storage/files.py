"""Writing that survives a crash: everything appears whole under its name, or not at all.

The order is always the same: write beside the target, fsync, rename, fsync the folder.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unnoise.errors import InputError, LimitExceeded

TEMPORARY = ".tmp-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def as_path(value: object, what: str) -> Path:
    """A path that somebody gave; InputError, which calls it `what`, for what is none, and for one
    that the operating system does not look at: too long, or in a folder that is not ours to read.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or "\0" in text:
        raise InputError(f"{what} is a path", value=repr(value), limit="a text or a pathlib.Path")
    if not text:
        raise InputError(f"{what} is empty", value=text, fix="name it; . is the folder here")
    with readable(what), suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(text)
    return Path(text)


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what the operating system says against reading something into InputError, which calls it
    `what`."""
    try:
        yield
    except OSError as error:
        named = error.filename is not None
        raise InputError(
            f"{what} cannot be read: {error.strerror or error}",
            value=str(error.filename) if named else None,
            fix="name a file or a folder that can be" if named else "",
        ) from error


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` and wait until it is on the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk (a no-op where folders cannot be opened)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Replace the file `path` by `data`: readers see the old content or the new, never a part."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        write_file(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`, renamed to `target` (which must not exist) at the end.

    Whatever goes wrong inside, `target` does not appear and the temporary folder is removed.
    """
    temporary = target.with_name(f"{TEMPORARY}{target.name}-{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        sync_folder(temporary)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(target.parent)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove what a killed writer left in `folder` (of the target `name`, or of any target)."""
    for path in folder.glob(f"{TEMPORARY}{name}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def disk_errors(doing: str, then: str = "try again") -> Iterator[None]:
    """Turn the operating system's refusals into errors of ours; `then` ends the advice.

    Raises
    ------
    LimitExceeded : the disk, the quota or the permitted file size is used up.
    InputError : any other refusal (permissions, a read-only disk, a file where a folder must be).
    """
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        if error.errno in _FULL:
            raise LimitExceeded(
                f"no space left while {doing}{where}: {error.strerror}",
                fix=f"free some space and {then}",
            ) from error
        raise InputError(
            f"{doing} failed{where}: {error.strerror or error}",
            fix=f"choose a folder that can be written, or make this one so, and {then}",
        ) from error


@contextmanager
def removed_unused(folder: Path) -> Iterator[None]:
    """Folders on the way to `folder` that are made inside go again when it fails and they are
    empty."""
    made = [place for place in (folder, *folder.parents) if not os.path.exists(place)]  # noqa: PTH110 - Path's raises
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty, or never made
            for place in made:
                place.rmdir()
        raise


def writable_folder(folder: Path) -> None:
    """Create `folder` if need be and prove that files can be made in it, or raise InputError."""
    with disk_errors(f"writing into {str(folder)!r}"):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"{TEMPORARY}probe-{uuid.uuid4().hex[:8]}"
        probe.write_bytes(b"")
        probe.unlink()
