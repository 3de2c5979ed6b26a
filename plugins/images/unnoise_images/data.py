"""Folders of pictures as training data.

`folder/class/*.png` gives one class per folder, in order of names; a folder that holds pictures
directly has no classes. Files are taken in order of names, so that the split below is a function
of the names alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.errors import ConfigError, InputError, LimitExceeded, unusable
from unnoise.fields import configured
from unnoise.storage.tensors import digest
from unnoise_images.configuration import Configuration
from unnoise_images.files import SUFFIXES, is_colour, opened, read_pixels, shown_size

MOST_BYTES: Final = 8 << 30
"""Largest data set, decoded to its training size and held in memory, one byte per value."""
_NAMED = 5  # unreadable files that a message names; it counts the others


@dataclass(frozen=True)
class Folder:
    """The picture files below a folder: class names, and (file, label) in order."""

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]


def scan(source: str | Path, classes: Sequence[str] | None = None) -> Folder:
    """List the pictures of `source`; `classes` restricts and orders the class folders.

    Raises InputError for a source that is no folder, holds no pictures, holds both pictures and
    class folders, lacks a class of `classes`, or has a class without pictures.
    """
    root = Path(source)
    if not root.is_dir():
        raise InputError("the data must be a folder of pictures", value=str(root))
    loose = _pictures(root)
    found = {
        p.name: pictures
        for p in sorted(root.iterdir())
        if p.is_dir() and not p.name.startswith(".") and (pictures := _pictures(p))
    }
    if loose and found:
        raise InputError(
            f"{str(root)!r} holds pictures and class folders side by side",
            value=f"{len(loose)} pictures, folders {', '.join(list(found)[:_NAMED])}",
            fix="move every picture into a class folder, or all of them out",
        )
    if not loose and not found:
        raise InputError(
            f"{str(root)!r} holds no pictures",
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
    return Folder(root, tuple(classes), tuple(labelled or [(path, 0) for path in loose]))


def complete(source: str | Path, configuration: Configuration) -> Configuration:
    """Fill in size, channels, classes and held_out from the pictures' headers."""
    folder = scan(source, configuration.classes)
    wanted = configuration
    sizes: dict[tuple[int, int], Path] = {}
    colour = False
    if wanted.channels is None or wanted.height is None or wanted.width is None:
        for path, _ in folder.files:
            try:
                with opened(path) as picture:
                    sizes.setdefault(shown_size(picture), path)
                    colour |= is_colour(picture, repr(str(path)))
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
    """

    def __init__(self, pixels: Tensor, labels: Tensor, skipped: Sequence[Path] = ()) -> None:
        self.pixels, self.labels, self.skipped = pixels, labels, tuple(skipped)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pixels[index].float(), int(self.labels[index])

    @property
    def fingerprint(self) -> str:
        """A hash of all pictures and labels."""
        return digest(self.pixels, self.labels)


def read(
    source: str | Path, configuration: Configuration, part: Literal["train", "validation"]
) -> Pictures:
    """Decode one part of a folder.

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
            pixels[len(labels)] = read_pixels(path, height, width, channels, configuration.fit)
            labels.append(label)
        except InputError as error:
            bad.append((path, error))
    if bad:
        unusable(
            bad, len(files), f"pictures of the {part} part", configuration.unreadable == "skip"
        )
    if files and not labels:
        raise InputError(f"not one picture of the {part} part can be read", value=str(folder.root))
    kept = torch.from_numpy(pixels[: len(labels)])
    return Pictures(kept, torch.tensor(labels, dtype=torch.int64), [path for path, _ in bad])


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
