"""Where pictures lie: folders, tables, or what a Python program holds.

`folder/class/*.png` gives one class per folder, in order of names and numbers in numeric order; a
folder that holds pictures directly has no classes. Pictures may lie deeper inside a class folder.
Files are taken in order of names, so that a split is a function of the names alone. What else there
is says `items.py`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from PIL import Image

from unnoise.errors import InputError, some
from unnoise_images.files import SUFFIXES, as_picture, opened
from unnoise_images.items import Items, Tables, items_of, tables_of

NAMED: Final = 5
"""Files that a message names; it counts the others."""
_PARTS: Final = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
)
_SIDE: Final = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What systems leave in folders, beside names that begin with a dot (._a.png)."""

Place = Path | int


@dataclass(frozen=True)
class Folder:
    """Class names, and pairs (place, label) in order: a place is a file below a folder, or the
    number of one of `items`, named by `root`.

    `left` are the files that are no pictures, of which nothing is read; `empty` the folders that
    hold nothing, and are no classes; `other` the items whose labels are no classes.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[Place, int], ...]
    left: tuple[Path, ...] = field(default=())
    items: Items | None = None
    empty: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    @contextmanager
    def picture(self, place: Place) -> Iterator[Image.Image]:
        """The picture at a place, checked; its pixels are decoded when they are asked for."""
        if isinstance(place, Path):
            with opened(place) as picture:
                yield picture
            return
        assert self.items is not None
        found = self.items.picture(place)
        if isinstance(found, bytes):
            with opened(found, called(place)) as picture:
                yield picture
        else:
            yield as_picture(found, called(place))


def called(place: Place) -> str:
    """A place in words."""
    return repr(str(place)) if isinstance(place, Path) else f"item {place}"


def scan(source: Any, classes: Sequence[str] | None = None) -> Folder:
    """List the pictures of `source`; `classes` restricts and orders the classes.

    Raises InputError for a source that holds no pictures, holds both pictures and class folders,
    lacks a class of `classes`, or has a class folder with files of which none is a picture.
    """
    if not isinstance(source, (str, Path)):
        return _listed(items_of(source), type(source).__name__, classes)
    root = Path(source)
    if tables := tables_of(root):
        if root.is_dir() and (beside := _pictures(root, [], deep=True)):
            raise InputError(
                f"{str(root)!r} holds pictures and parquet files side by side",
                value=f"{len(beside)} pictures, {tables[0].name}",
                fix="name the parquet file, or take it out",
            )
        return _listed(Tables(tables), str(root), classes)
    if not root.is_dir():
        raise InputError(
            "the data must be a folder of pictures, or a .parquet file", value=str(root)
        )
    left: list[Path] = []
    loose = _pictures(root, left, deep=False)
    found: dict[str, list[Path]] = {}
    empty: list[str] = []
    for folder in sorted((p for p in root.iterdir() if p.is_dir()), key=_natural):
        if _is_side(folder.name):
            left.append(folder)
            continue
        before = len(left)
        pictures = _pictures(folder, left, deep=True)
        if pictures:
            found[folder.name] = pictures
        elif len(left) > before and not loose:
            raise InputError(
                f"the class folder {str(folder)!r} holds no pictures that can be read",
                value=f"{len(left) - before} files: {some([p.name for p in left[before:]])}",
                limit=", ".join(SUFFIXES),
                fix="convert them, or take the folder out",
            )
        elif len(left) == before:
            empty.append(folder.name)
    if loose and found:
        raise InputError(
            f"{str(root)!r} holds pictures and class folders side by side",
            value=f"{len(loose)} pictures, folders {', '.join(list(found)[:NAMED])}",
            fix="move every picture into a class folder, or all of them out",
        )
    if not loose and not found:
        raise InputError(
            f"{str(root)!r} holds no pictures",
            value=f"{len(left)} other files: {some([p.name for p in left])}" if left else None,
            limit=f"{', '.join(SUFFIXES)}, in the folder or in class folders below it",
        )
    if classes is None:
        _check_parts(root, found)
        classes = tuple(found)
    missing = [name for name in classes if name not in found]
    if missing:
        raise InputError(
            f"{str(root)!r} lacks the class folder(s) {', '.join(map(repr, missing[:NAMED]))}",
            value=sorted(found)[:NAMED],
        )
    if found and not classes:
        loose = sorted(p for pictures in found.values() for p in pictures)
    labelled: list[tuple[Place, int]] = [
        (path, k) for k, name in enumerate(classes) for path in found[name]
    ]
    files = tuple(labelled or [(path, 0) for path in loose])
    unused = () if loose else tuple(name for name in empty if name not in classes)
    return Folder(root, tuple(classes), files, tuple(left), empty=unused)


def _check_parts(root: Path, found: Collection[str]) -> None:
    """InputError for folders whose names are those of the parts of a data set, all of them."""
    if found and all(name.lower() in _PARTS for name in found):
        first = min(found, key=lambda name: (not name.lower().startswith("train"), name))
        raise InputError(
            f"the folders in {str(root)!r} are parts of a data set and no classes",
            value=", ".join(found),
            fix=f"name the one to learn, {str(root / first)!r}, or classes= if they are classes",
        )


def _listed(items: Items, what: str, classes: Sequence[str] | None) -> Folder:
    """The items of a program or a table: their labels are read, their pictures are not."""
    if not len(items):
        raise InputError("the data hold no pictures", value=what)
    labels = items.labels()
    asked = classes is not None
    if classes is None:
        classes = items.names() or tuple(
            sorted({str(v) for v in labels if v is not None}, key=lambda name: _key(name))
        )
    known = {name: k for k, name in enumerate(classes)}
    numbers = any(name.isdigit() for name in classes)
    pairs: list[tuple[Place, int]] = []
    other: list[str] = []
    for number, label in enumerate(labels):
        if not classes:
            pairs.append((number, 0))
        elif str(label) in known:
            pairs.append((number, known[str(label)]))
        elif isinstance(label, int) and 0 <= label < len(classes) and not numbers:
            pairs.append((number, label))
        elif label is None:
            raise InputError("an item has no label, and others have", value=f"item {number}")
        else:
            other.append(f"{called(number)} ({label})")
    if not pairs:
        raise InputError("no picture is of these classes", value=list(classes)[:NAMED])
    present = Counter(label for _, label in pairs)
    if missing := [name for k, name in enumerate(classes) if not present[k]]:
        raise InputError("a class has no picture", value=missing[:NAMED])
    pairs.sort(key=lambda pair: pair[1])
    unknown = () if asked else tuple(other)  # who names classes leaves out the others
    return Folder(Path(what), tuple(classes), tuple(pairs), items=items, other=unknown)


def _pictures(folder: Path, left: list[Path], *, deep: bool) -> list[Path]:
    """The picture files in a folder, or anywhere below it; other files go to `left`."""
    found = []
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if deep and not _is_side(name))
        for name in sorted(names):
            path = Path(place) / name
            if path.suffix.lower() in SUFFIXES and not _is_side(name):
                found.append(path)
            else:
                left.append(path)
    return sorted(found)


def _is_side(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SIDE


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return _key(path.name)


def _key(name: str) -> list[tuple[int, int, str]]:
    """By which names are put in order, the numbers in them as numbers: 1, 2, 10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]
