"""Pictures as training data: folders, or what a Python program holds.

`folder/class/*.png` gives one class per folder, in order of names and numbers in numeric order; a
folder that holds pictures directly has no classes. Pictures may lie deeper inside a class folder.
Files are taken in order of names, so that the split below is a function of the names alone.

A list, a torch Dataset or one of `datasets` gives pictures (PIL, arrays, tensors (C, H, W)), or
pairs (picture, label), or mappings with "image" and "label"; a label is the name of a class, or the
number of one of `classes`.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.errors import ConfigError, InputError, LimitExceeded, unusable
from unnoise.fields import configured
from unnoise.storage.tensors import digest
from unnoise_images.augment import augmented
from unnoise_images.configuration import Configuration
from unnoise_images.files import (
    SUFFIXES,
    Pixels,
    as_picture,
    is_colour,
    opened,
    read_pixels,
    shown_size,
    to_pixels,
)

MOST_BYTES: Final = 8 << 30
"""Largest data set, decoded to its training size and held in memory, one byte per value."""
_NAMED = 5  # files that a message names; it counts the others
_SIDE: Final = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What systems leave in folders, beside names that begin with a dot (._a.png)."""


@dataclass(frozen=True)
class Folder:
    """Class names, and pairs (picture, label) in order: the files below a folder, or the numbers of
    items that a program holds, named by `root`.

    `left` are the files that are no pictures, of which nothing is read.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]
    left: tuple[Path, ...] = field(default=())
    items: Any = None

    def picture(self, path: Path) -> Image.Image:
        """The picture of an item; `path` is its place."""
        found = _picture(self.items[int(path.name)])
        return as_picture(found, f"item {path.name}")


def scan(source: Any, classes: Sequence[str] | None = None) -> Folder:
    """List the pictures of `source`; `classes` restricts and orders the classes.

    Raises InputError for a source that holds no pictures, holds both pictures and class folders,
    lacks a class of `classes`, or has a class folder with files of which none is a picture.
    """
    if not isinstance(source, (str, Path)):
        return _listed(source, classes)
    root = Path(source)
    if not root.is_dir():
        raise InputError("the data must be a folder of pictures", value=str(root))
    left: list[Path] = []
    loose = _pictures(root, left, deep=False)
    found = {}
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
                value=f"{len(left) - before} files: {_some(left[before:])}",
                limit=", ".join(SUFFIXES),
                fix="convert them, or take the folder out",
            )
    if loose and found:
        raise InputError(
            f"{str(root)!r} holds pictures and class folders side by side",
            value=f"{len(loose)} pictures, folders {', '.join(list(found)[:_NAMED])}",
            fix="move every picture into a class folder, or all of them out",
        )
    if not loose and not found:
        raise InputError(
            f"{str(root)!r} holds no pictures",
            value=f"{len(left)} other files: {_some(left)}" if left else None,
            limit=f"{', '.join(SUFFIXES)}, in the folder or in class folders below it",
        )
    if classes is None:
        classes = tuple(found)
    missing = [name for name in classes if name not in found]
    if missing:
        raise InputError(
            f"{str(root)!r} lacks the class folder(s) {', '.join(map(repr, missing[:_NAMED]))}",
            value=sorted(found)[:_NAMED],
        )
    if found and not classes:
        loose = sorted(p for pictures in found.values() for p in pictures)
    labelled = [(path, k) for k, name in enumerate(classes) for path in found[name]]
    files = tuple(labelled or [(path, 0) for path in loose])
    return Folder(root, tuple(classes), files, tuple(left))


def _listed(source: Any, classes: Sequence[str] | None) -> Folder:
    """The items of a sequence or a dataset."""
    what = type(source).__name__
    try:
        count = len(source)
        items = [source[k] for k in range(count)]
    except (TypeError, KeyError) as error:
        raise InputError(
            "the data must be a folder, or pictures that have a length and a number each",
            value=what,
        ) from error
    if not items:
        raise InputError("the data hold no pictures", value=what)
    labels = [_label(item) for item in items]
    if classes is None:
        classes = _names(source) or tuple(
            sorted({str(v) for v in labels if v is not None}, key=lambda name: _key(name))
        )
    known = {name: k for k, name in enumerate(classes)}
    pairs = []
    for number, label in enumerate(labels):
        place = Path(f"{number:09}")
        if not classes:
            pairs.append((place, 0))
        elif str(label) in known:
            pairs.append((place, known[str(label)]))
        elif isinstance(label, int) and 0 <= label < len(classes) and not _numeric(classes):
            pairs.append((place, label))
        elif label is None:
            raise InputError("an item has no label, and others have", value=f"item {number}")
    if not pairs:
        raise InputError("no picture is of these classes", value=list(classes)[:_NAMED])
    empty = Counter(label for _, label in pairs)
    if missing := [name for k, name in enumerate(classes) if classes and not empty[k]]:
        raise InputError("a class has no picture", value=missing[:_NAMED])
    pairs.sort(key=lambda pair: pair[1])
    return Folder(Path(what), tuple(classes), tuple(pairs), items=items)


def _numeric(classes: Sequence[str]) -> bool:
    return any(name.isdigit() for name in classes)


def _label(item: Any) -> Any:
    """A whole number, a name, or None."""
    if isinstance(item, Mapping):
        label = item.get("label")
    else:
        label = item[1] if isinstance(item, (tuple, list)) and len(item) == 2 else None
    if isinstance(label, (Tensor, np.generic)):
        label = label.item()
    return label if label is None or isinstance(label, str) else int(label)


def _picture(item: Any) -> Any:
    if isinstance(item, Mapping):
        if "image" not in item:
            raise InputError("an item has no image", value=sorted(item)[:_NAMED], limit="image")
        item = item["image"]
    elif isinstance(item, (tuple, list)) and len(item) == 2:
        item = item[0]
    return item


def _names(source: Any) -> tuple[str, ...]:
    """The names of the classes of a set of `datasets`, where its labels have names."""
    library = sys.modules.get("datasets")
    if library is None or not isinstance(source, library.Dataset):
        return ()
    feature = source.features.get("label")
    return tuple(feature.names) if isinstance(feature, library.ClassLabel) else ()


def complete(source: Any, configuration: Configuration) -> Configuration:
    """Fill in size, channels, classes and held_out from the pictures' headers. Files that are no
    pictures are counted and named in a warning."""
    folder = scan(source, configuration.classes)
    if folder.left:
        warnings.warn(
            f"{len(folder.left)} files in {str(folder.root)!r} are no pictures and were left out:"
            f" {_some(folder.left)}",
            stacklevel=2,
        )
    wanted = configuration
    sizes: dict[tuple[int, int], Path] = {}
    colour = False
    if wanted.channels is None or wanted.height is None or wanted.width is None:
        for path, _ in folder.files:
            try:
                size, coloured = _header(folder, path, wanted.background)
                sizes.setdefault(size, path)
                colour |= coloured
            except InputError:
                if wanted.unreadable == "error":
                    raise
        if not sizes:
            raise InputError("not one picture can be read", value=str(folder.root))
    height, width = wanted.height, wanted.width
    if height is None or width is None:
        if len(sizes) > 1:
            raise InputError(
                "the pictures have several sizes",
                value=", ".join(f"{h} x {w} ({p.name})" for (h, w), p in list(sizes.items())[:3]),
                limit="one size (height x width)",
                fix="pass height=, width= and fit='resize' or fit='crop'",
            )
        (size,) = sizes
        height, width = height or size[0], width or size[1]
    held_out = wanted.held_out
    if held_out is None:
        held_out = min(1000, len(folder.files) // 10)
    values = wanted.model_dump() | {
        "height": height,
        "width": width,
        "channels": wanted.channels or (3 if colour else 1),
        "classes": folder.classes,
        "held_out": held_out,
    }
    return configured(Configuration, values)


def _header(folder: Folder, path: Path, background: str | None) -> tuple[tuple[int, int], bool]:
    """(height, width) of a picture, and whether it has colour."""
    if folder.items is not None:
        picture = folder.picture(path)
        return shown_size(picture), is_colour(picture, f"item {path.name}", background)
    with opened(path) as picture:
        return shown_size(picture), is_colour(picture, repr(str(path)), background)


def _pixels(folder: Folder, path: Path, configuration: Configuration) -> Pixels:
    channels, height, width = configuration.size
    fit, background = configuration.fit, configuration.background
    if folder.items is None:
        return read_pixels(path, height, width, channels, fit, background)
    what = f"item {path.name}"
    return to_pixels(folder.picture(path), height, width, channels, fit, what, background)


def split(
    files: Sequence[tuple[Path, int]], held_out: int, part: Literal["train", "validation"]
) -> list[tuple[Path, int]]:
    """The files of one part. Held out are the last files of each class, in proportion to its size
    (largest remainders), `held_out` in total, and never a whole class."""
    groups: dict[int, list[tuple[Path, int]]] = {}
    for item in files:
        groups.setdefault(item[1], []).append(item)
    limit = len(files) - len(groups)
    if held_out > limit:
        raise ConfigError(
            "held_out leaves a class without training pictures", value=held_out, limit=f"0..{limit}"
        )
    exact = {k: held_out * len(group) / len(files) for k, group in groups.items()}
    count = {k: min(int(share), len(groups[k]) - 1) for k, share in exact.items()}
    order = sorted(groups, key=lambda k: (count[k] - exact[k], k))
    while (rest := held_out - sum(count.values())) > 0:
        for k in order[:]:
            if rest and count[k] < len(groups[k]) - 1:
                count[k], rest = count[k] + 1, rest - 1
    if part == "train":
        return [item for k, group in groups.items() for item in group[: len(group) - count[k]]]
    return [item for k, group in groups.items() for item in group[len(group) - count[k] :]]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Decoded pictures, (channels, height, width) of numbers from 0 to 255, with their labels.

    Attributes
    ----------
    pixels : (n, channels, height, width) uint8.
    labels : (n,) int64.
    skipped : files that could not be read.
    flip, shift : how a picture is changed each time it is read, see `augmented`.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        skipped: Sequence[Path] = (),
        flip: bool = False,
        shift: int = 0,
    ) -> None:
        self.pixels, self.labels, self.skipped = pixels, labels, tuple(skipped)
        self.flip, self.shift = flip, shift

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = augmented(self.pixels[index], self.flip, self.shift)
        return picture.float(), int(self.labels[index])

    @property
    def fingerprint(self) -> str:
        """A hash of all pictures and labels."""
        return digest(self.pixels, self.labels)


def read(
    source: Any, configuration: Configuration, part: Literal["train", "validation"]
) -> Pictures:
    """Decode one part of a folder, or of what `scan` takes besides.

    Raises
    ------
    InputError : naming the first unreadable files and counting all of them, unless
        `unreadable="skip"`, which warns instead; or no picture is left.
    LimitExceeded : more than `MOST_BYTES` of decoded pictures.
    """
    channels, height, width = configuration.size
    folder = scan(source, configuration.classes)
    files = split(folder.files, configuration.held_out or 0, part)
    size = channels * height * width
    if len(files) * size > MOST_BYTES:
        raise LimitExceeded(
            "the decoded pictures do not fit",
            value=f"{len(files) * size / 2**30:.1f} GiB",
            limit=f"{MOST_BYTES >> 30} GiB",
            fix="use fewer or smaller pictures",
        )
    pixels = np.empty((len(files), channels, height, width), dtype=np.uint8)
    labels: list[int] = []
    bad: list[tuple[Path, InputError]] = []
    for path, label in files:
        try:
            pixels[len(labels)] = _pixels(folder, path, configuration)
            labels.append(label)
        except InputError as error:
            bad.append((path, error))
    if bad:
        unusable(
            bad, len(files), f"pictures of the {part} part", configuration.unreadable == "skip"
        )
    if files and not labels:
        raise InputError(f"not one picture of the {part} part can be read", value=str(folder.root))
    flip, shift = (configuration.flip, configuration.shift) if part == "train" else (False, 0)
    kept, numbers = torch.from_numpy(pixels[: len(labels)]), torch.tensor(labels, dtype=torch.int64)
    return Pictures(kept, numbers, [path for path, _ in bad], flip, shift)


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


def _some(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(path.name for path in paths[:_NAMED]) + more
