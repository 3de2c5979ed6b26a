"""Scaling, the parts of a series, windows of it, and how windows are put together without seams.

A series longer than the network's window is filled from left to right. Neighbouring windows share
`overlap` rows, and change hands in the middle of them: a window keeps what it made up to there, the
next one is *given* these values as if they had been observed and makes the rest. So every path is
one draw, continuous over all borders, and a hole near a border was made by a network that saw at
least half the overlap on both sides of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, final

import numpy as np

from unnoise.errors import InputError

Values = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True)
class Scaler:
    """z = (x - mean) / scale for each column; columns that were constant are filled with the
    constant: their spread is 0."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @staticmethod
    def of(parts: Sequence[Values], columns: Sequence[str]) -> Scaler:
        """Mean and standard deviation of what is observed in `parts`, (rows, columns) each.

        Raises InputError for a column without a single value.
        """
        values = np.concatenate(list(parts))
        for j, name in enumerate(columns):
            if not np.isfinite(values[:, j]).any():
                raise InputError(
                    f"column {name!r} has no value in the training part: nothing can be learned"
                    " of it",
                    fix="leave the column out",
                )
        mean = np.nanmean(values, axis=0)
        scale = np.nanstd(values, axis=0)
        # rounding gives a constant column a spread of a few last bits
        flat = np.nanmax(values, axis=0) == np.nanmin(values, axis=0)
        return Scaler(tuple(mean.tolist()), tuple(np.where(flat, 0.0, scale).tolist()))

    def forward(self, x: Values) -> Values:
        """Of columns in the last axis."""
        scale = np.asarray(self.scale)
        return (x - np.asarray(self.mean)) / np.where(scale > 0, scale, 1.0)

    def inverse(self, z: Values) -> Values:
        """Of columns in the last axis."""
        return z * np.asarray(self.scale) + np.asarray(self.mean)


@final
@dataclass(frozen=True)
class Segment:
    """A window of rows start .. start + length - 1: those before `fresh` are given, those from
    `fresh` to `keep` - 1 are made and kept, those from `keep` on are made and made again by the
    next window."""

    start: int
    length: int
    fresh: int
    keep: int


def segments(rows: int, length: int, overlap: int) -> list[Segment]:
    """Windows of `length` over `rows` rows, in order; they keep each row exactly once."""
    if rows < length:
        raise InputError(
            "a series has fewer rows than the model's window", value=rows, limit=f">= {length}"
        )
    step = length - overlap
    starts = [*range(0, rows - length, step), rows - length]
    borders = [0, *((a + length + b) // 2 for a, b in pairwise(starts)), rows]
    kept = zip(starts, pairwise(borders), strict=True)
    return [Segment(s, length, fresh, keep) for s, (fresh, keep) in kept]


def cut(rows: int, held_out: float) -> int:
    """Rows of the training part: the last share `held_out` of a series is held out."""
    return rows - round(rows * held_out)


def window_starts(
    rows: int, length: int, held_out: float, part: Literal["train", "validation"], stride: int = 1
) -> range:
    """Where the windows of one part start; no window reaches over the border between the parts."""
    border = cut(rows, held_out)
    low, high = (0, border) if part == "train" else (border, rows)
    return range(low, high - length + 1, stride)


def check_leakage(train: Sequence[tuple[Any, Any]], test: Sequence[tuple[Any, Any]]) -> None:
    """Raise InputError unless every training row lies before every test row.

    Parameters
    ----------
    train, test : (first, last) time of each series or window.
    """
    last, first = max(end for _, end in train), min(begin for begin, _ in test)
    if not last < first:
        raise InputError(
            "training rows lie in or after the test part: the test would measure memory",
            value=f"training ends at {last}, the test begins at {first}",
            fix="split by time",
        )
