"""Pictures as training data: decoded, split, and held in memory; `sources.py` finds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.errors import ConfigError, InputError, LimitExceeded, left_out, some, unusable
from unnoise.fields import configured
from unnoise.storage.tensors import digest
from unnoise_images.augment import augmented
from unnoise_images.configuration import Configuration
from unnoise_images.files import Pixels, check_bright, is_colour, shown_size, to_pixels
from unnoise_images.sources import Folder, Place, called, scan

MOST_BYTES: Final = 8 << 30
"""Largest data set, decoded to its training size and held in memory, one byte per value."""


def complete(source: Any, configuration: Configuration) -> Configuration:
    """Fill in size, channels, classes and held_out from the pictures' headers. Files that are no
    pictures are counted and named in a warning."""
    folder = scan(source, _classes_asked(source, configuration))
    where = f"in {str(folder.root)!r}"
    left_out([p.name for p in folder.left], f"files {where} are no pictures and were left out")
    left_out(folder.empty, f"folders {where} hold no pictures and are no classes")
    left_out(folder.other, f"items {where} have labels that are no classes and were left out")
    wanted = configuration
    sizes: dict[tuple[int, int], Place] = {}
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
                value=", ".join(
                    f"{h} x {w} ({called(p)})" for (h, w), p in list(sizes.items())[:3]
                ),
                limit="one size (height x width)",
                fix="pass height=, width= and fit='resize' or fit='crop'",
            )
        (size,) = sizes
        height, width = height or size[0], width or size[1]
    held_out = wanted.held_out
    if held_out is None:
        held_out = min(1000, len(folder.files) // 10)
    if wanted.shift >= min(height, width):
        raise ConfigError(
            "shift moves pictures out of sight",
            value=wanted.shift,
            limit=f"less than their side, {min(height, width)}",
        )
    values = wanted.model_dump() | {
        "height": height,
        "width": width,
        "channels": wanted.channels or (3 if colour else 1),
        "classes": folder.classes,
        "held_out": held_out,
    }
    return configured(Configuration, values)


def _classes_asked(source: Any, configuration: Configuration) -> tuple[str, ...] | None:
    """Those of the configuration; none, with a warning, where a network that is there already knows
    none."""
    network = (configuration.diffusers or {}).get("unet")
    if configuration.classes is not None or network is None or network.get("num_class_embeds"):
        return configuration.classes
    left_out(scan(source).classes, "classes are not told to this network, which knows none")
    return ()


def _header(folder: Folder, place: Place, background: str | None) -> tuple[tuple[int, int], bool]:
    """(height, width) of a picture, and whether it has colour."""
    with folder.picture(place) as picture:
        return shown_size(picture), is_colour(picture, called(place), background)


def _pixels(folder: Folder, place: Place, configuration: Configuration) -> Pixels:
    channels, height, width = configuration.size
    fit, background = configuration.fit, configuration.background
    with folder.picture(place) as picture:
        return to_pixels(picture, height, width, channels, fit, called(place), background)


def split(
    files: Sequence[tuple[Place, int]], held_out: int, part: Literal["train", "validation"]
) -> list[tuple[Place, int]]:
    """The files of one part. Held out are the last files of each class, in proportion to its size
    (largest remainders), `held_out` in total, and never a whole class."""
    groups: dict[int, list[tuple[Place, int]]] = {}
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
    skipped : files, or numbers of items, that could not be read.
    flip, shift : how a picture is changed each time it is read, see `augmented`.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        skipped: Sequence[Place] = (),
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
    files = folder.files
    if configuration.held_out is not None or part == "train":  # a model of elsewhere saw none
        files = split(files, configuration.held_out or 0, part)
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
    bad: list[tuple[Place, InputError]] = []
    for path, label in files:
        try:
            pixels[len(labels)] = _pixels(folder, path, configuration)
            labels.append(label)
        except InputError as error:
            bad.append((path, error))
    if bad:
        unusable(
            [(p if isinstance(p, Path) else called(p), error) for p, error in bad],
            len(files),
            f"pictures of the {part} part",
            configuration.unreadable == "skip",
        )
    if files and not labels:
        raise InputError(
            f"not one picture of the {part} part can be read",
            value=f"{len(files)} of {str(folder.root)!r}",
            fix="repair them, take them out, or raise held_out",
        )
    if gone := sorted({label for _, label in files} - {*labels}) if part == "train" else []:
        raise InputError(
            "not one picture of a class can be read",
            value=some([folder.classes[label] for label in gone]),
            fix="repair them, or take the class out",
        )
    check_bright(int(pixels[: len(labels)].max(initial=0)), f"every picture of the {part} part")
    flip, shift = (configuration.flip, configuration.shift) if part == "train" else (False, 0)
    kept, numbers = torch.from_numpy(pixels[: len(labels)]), torch.tensor(labels, dtype=torch.int64)
    return Pictures(kept, numbers, [path for path, _ in bad], flip, shift)


def pictures(source: Any, configuration: Configuration) -> list[tuple[str, tuple[Tensor, int]]]:
    """All pictures of a folder, or of what `scan` takes besides, by name and not augmented. Not
    every class of the configuration has to be there, and there may be no other.

    Errors as of `read`.
    """
    classes = configuration.classes or ()
    there = scan(source).classes
    if classes and (not there or set(there) - set(classes)):
        raise InputError(
            "the model is of classes, and is asked how unusual a picture is for its class",
            value=", ".join(sorted(set(there) - set(classes))[:5]) or "pictures without classes",
            limit=", ".join(classes[:20]),
            fix="put each picture into a folder with the name of a class",
        )
    present = tuple(name for name in classes if name in there)
    plain = configuration.model_copy(
        update={"classes": present, "held_out": 0, "flip": False, "shift": 0}
    )
    found = read(source, plain, "train")
    places = [place for place, _ in split(scan(source, present).files, 0, "train")]
    names = [called(place) for place in places if place not in found.skipped]
    label = [classes.index(name) for name in present] or [0]
    return [(name, (x, label[k])) for name, (x, k) in zip(names, found, strict=True)]
