"""Pictures with captions as training data.

Captions are found in one of these places, in this order:

    a table         the source itself, or the only captions.*, metadata.* or train.* in the folder:
                    .jsonl, .csv or .parquet, with a column of paths (path, file_name, file, image)
                    and one of captions (caption, captions, text, prompt); `captions` may be a list
    text files      apple.png beside apple.txt, a caption on each line

Paths are relative to the table. `metadata.jsonl` with `file_name` and `text` is the image folder of
Hugging Face. A column `split` says which pictures are for "train", which for "validation"; all
other words there are parts of their own, which training does not see. Without it the last
`held_out` pictures in order of paths are for validation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.errors import InputError, LimitExceeded, left_out
from unnoise.fields import configured
from unnoise.storage.reading import json_of, separated, whole
from unnoise.storage.tensors import digest
from unnoise_images.data import MOST_BYTES
from unnoise_images.files import SMALLEST, SUFFIXES, opened, shown_size, to_pixels
from unnoise_text2image.configuration import Configuration
from unnoise_text2image.text import Reader, trained_tokenizer
from unnoise_text2image.upsampling import reduced

PATHS: Final = ("path", "file_name", "file", "image")
CAPTIONS: Final = ("captions", "caption", "text", "prompt")
TABLES: Final = ("captions", "metadata", "train")
_NAMED = 5  # files that a message names; it counts the others


@dataclass(frozen=True)
class Captioned:
    """A picture's file, its captions, and the part that it belongs to, "" where none is named."""

    path: Path
    captions: tuple[str, ...]
    part: str = ""


def scan(source: Any, configuration: Configuration) -> list[Captioned]:
    """The pictures of a folder or a table, in order of paths.

    Raises InputError for a source without pictures or captions, a table that cannot be read,
    a picture that is listed twice, and pictures without a caption (see `without_caption`).
    """
    root = Path(source)
    if not root.exists():
        raise InputError("there is no such folder or table", value=str(root))
    table = root if root.is_file() else _table_in(root)
    found = list(_beside(root) if table is None else _rows(table))
    found.sort(key=lambda one: one.path.as_posix())
    if not found:
        raise InputError(
            f"{str(root)!r} holds no pictures", limit=f"{', '.join(SUFFIXES)}, with captions"
        )
    twice = [str(b.path) for a, b in pairwise(found) if a.path == b.path]
    if twice:
        raise InputError(
            "a picture is listed twice",
            value=_some(twice),
            fix="list its captions in one row, as a list in a column `captions` of a .jsonl",
        )
    bare = [str(one.path) for one in found if not one.captions]
    if bare and configuration.without_caption == "error":
        raise InputError(
            f"{len(bare)} of {len(found)} pictures have no caption",
            value=_some(bare),
            fix="write captions, or pass without_caption='skip' or 'empty'",
        )
    if configuration.without_caption == "empty":
        return [one if one.captions else Captioned(one.path, ("",), one.part) for one in found]
    left = [one for one in found if one.captions]
    if not left:
        raise InputError("not one picture has a caption", value=str(root))
    return left


def part_of(found: Sequence[Captioned], part: str, configuration: Configuration) -> list[Captioned]:
    """The pictures of one part."""
    if any(one.part for one in found):
        return [one for one in found if (one.part or "train") == part]
    held_out = configuration.held_out
    if held_out is None:
        held_out = min(1000, len(found) // 10)
    if held_out >= len(found):
        raise InputError(
            "held_out leaves no picture for training", value=held_out, limit=len(found) - 1
        )
    cut = len(found) - held_out
    return list(found[:cut] if part == "train" else found[cut:] if part == "validation" else ())


def complete(source: Any, configuration: Configuration) -> Configuration:
    """Fill in the sizes from the pictures' headers and make the tokenizer from the captions of the
    training part."""
    found = scan(source, configuration)
    _say_left_out(Path(source), found)
    train = part_of(found, "train", configuration)
    if not train:
        raise InputError("no picture is for training", value=str(source))
    side = configuration.side or _side(train)
    values = configuration.model_dump() | {
        "side": side,
        "base_side": configuration.base_side
        or (side if side % 2 or side < 2 * SMALLEST else side // 2),
    }
    if configuration.tokenizer is None:
        captions = (caption for one in train for caption in one.captions)
        values["tokenizer"] = trained_tokenizer(captions, configuration.vocabulary)
    return configured(Configuration, values)


def _say_left_out(source: Path, found: Sequence[Captioned]) -> None:
    """Warnings that name what of the data is not used: parts of other names, files that are no
    pictures, pictures that no row names or that have no caption."""
    other = Counter(one.part for one in found if one.part not in ("", "train", "validation"))
    parts = [f"{name} ({count})" for name, count in sorted(other.items())]
    left_out(parts, "parts are neither train nor validation, and their pictures are not used")
    if source.is_file():
        return
    used = {one.path for one in found}
    rest = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file()
        and path not in used
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
    ]
    pictures = [p.relative_to(source).as_posix() for p in rest if p.suffix.lower() in SUFFIXES]
    left_out(pictures, f"pictures in {str(source)!r} have no caption and were left out")
    if _table_in(source) is None:
        texts = {path.with_suffix(".txt") for path in used}
        names = [
            path.relative_to(source).as_posix()
            for path in rest
            if path not in texts and path.suffix.lower() not in SUFFIXES
        ]
        left_out(names, f"files in {str(source)!r} belong to no picture and were left out")


class Example(NamedTuple):
    """(3, H, W) of numbers from 0 to 255, tokens of a caption, and for an upsampler the small
    picture as a state."""

    picture: Tensor
    ids: Tensor
    low: Tensor | None


@final
class Captions(Dataset[Example]):
    """Decoded pictures of the size of a stage, each with one of its captions, drawn anew each time.

    Attributes
    ----------
    pixels : (n, 3, side, side) uint8.
    captions : of each picture.
    """

    def __init__(
        self, pixels: Tensor, captions: Sequence[tuple[str, ...]], configuration: Configuration
    ) -> None:
        self.pixels, self.captions = pixels, tuple(captions)
        self.upsampler = configuration.stage == "upsampler"
        self.factor = configuration.factor
        flat = [caption for some in captions for caption in some]
        self._rows = Reader(configuration).rows(flat).to(torch.int32)
        counts = torch.tensor([len(some) for some in captions])
        self._first = torch.cat([torch.zeros(1, dtype=counts.dtype), counts.cumsum(0)])

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Example:
        number = int(torch.randint(len(self.captions[index]), ()))
        ids = self._rows[int(self._first[index]) + number].long()
        whole = self.pixels[index].float()
        if self.upsampler:
            return Example(whole, ids, self.small(index))
        return Example(reduced(whole, self.factor), ids, None)

    def small(self, index: int) -> Tensor:
        """(3, base_side, base_side) of states, from -1 to 1."""
        return reduced(self.pixels[index].float(), self.factor) / 127.5 - 1

    @property
    def fingerprint(self) -> str:
        """A hash of all pictures and captions."""
        return digest(self.pixels, self._rows, self._first)


def read(source: Any, configuration: Configuration, part: str) -> Captions:
    """Decode one part of a source.

    Raises
    ------
    InputError : pictures that cannot be read, the first named; see `scan`.
    LimitExceeded : more than fits into memory.
    """
    _, side = configuration.sides
    chosen = part_of(scan(source, configuration), part, configuration)
    if len(chosen) * 3 * side * side > MOST_BYTES:
        raise LimitExceeded(
            "the decoded pictures do not fit",
            value=f"{len(chosen) * 3 * side * side / 2**30:.1f} GiB",
            limit=f"{MOST_BYTES >> 30} GiB",
            fix="use fewer or smaller pictures",
        )
    pixels = np.empty((len(chosen), 3, side, side), dtype=np.uint8)
    for row, one in zip(pixels, chosen, strict=True):
        with opened(one.path) as picture:
            row[...] = to_pixels(
                picture,
                side,
                side,
                3,
                configuration.fit,
                repr(str(one.path)),
                configuration.background,
            )
    return Captions(torch.from_numpy(pixels), [one.captions for one in chosen], configuration)


def _side(found: Sequence[Captioned]) -> int:
    """The side that all pictures share."""
    sizes: dict[tuple[int, int], Path] = {}
    for one in found:
        with opened(one.path) as picture:
            sizes.setdefault(shown_size(picture), one.path)
    (height, width), *others = sizes
    if others or height != width:
        shown = [f"{h} x {w} ({path.name})" for (h, w), path in list(sizes.items())[:3]]
        raise InputError(
            "the pictures are not all squares of one size",
            value=", ".join(shown),
            fix="pass side=, and fit='resize' or fit='crop'",
        )
    return height


def _table_in(folder: Path) -> Path | None:
    """The table of a folder, if it has one."""
    found = [
        path
        for stem in TABLES
        for suffix in _READERS
        if (path := folder / f"{stem}{suffix}").is_file()
    ]
    if len(found) > 1:
        raise InputError(
            f"{str(folder)!r} has several tables of captions",
            value=[path.name for path in found],
            fix="name the one that is meant in place of the folder",
        )
    return found[0] if found else None


def _beside(folder: Path) -> Iterator[Captioned]:
    """Pictures with text files beside them."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in SUFFIXES:
            continue
        text = path.with_suffix(".txt")
        lines = _text(text).splitlines() if text.is_file() else []
        yield Captioned(path, tuple(line.strip() for line in lines if line.strip()))


def _rows(table: Path) -> Iterator[Captioned]:
    """The rows of a table, by the names of its columns."""
    reader = _READERS.get(table.suffix.lower())
    if reader is None:
        raise InputError(f"{str(table)!r} is no table that can be read", limit=", ".join(_READERS))
    for number, row in enumerate(reader(table), 1):
        where = f"row {number} of {table.name}"
        path, given = _column(row, PATHS, where), _column(row, CAPTIONS, where)
        if not isinstance(path, str) or not path:
            raise InputError(f"{where} names no file", value=path)
        file = table.parent / path
        if not file.is_file():
            raise InputError(f"there is no file {str(file)!r}", value=where)
        texts = given if isinstance(given, (list, tuple)) else [given]
        if bad := [text for text in texts if not isinstance(text, str | None)]:
            raise InputError(f"a caption in {where} is no text", value=bad[0])
        captions = tuple(whole(text, where).strip() for text in texts if text and text.strip())
        yield Captioned(file, captions, str(row.get("split") or ""))


def _column(row: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    there = [name for name in names if name in row]
    if not there:
        raise InputError(
            f"{where} lacks a column", value=sorted(map(str, row)), limit=" or ".join(names)
        )
    return row[there[0]]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is no text in UTF-8") from error


def _jsonl(path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json_of(line)
        except ValueError as error:
            raise InputError(f"line {number} of {path.name} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"line {number} of {path.name} is no object", value=line[:80])
        yield row


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    _, rows = separated(_text(path).splitlines(keepends=True), path.name)
    yield from (row for _, row in rows)


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError as error:
        raise InputError(
            "parquet needs pyarrow",
            value=path.name,
            fix="pip install 'unnoise-text2image[parquet]'",
        ) from error
    try:
        yield from read_table(path).to_pylist()
    except ArrowException as error:
        raise InputError(f"{str(path)!r} is no parquet table: {error}") from error


_READERS: Final = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
