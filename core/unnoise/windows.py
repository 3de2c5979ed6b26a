"""Segments: how what is longer than a network sees is made piece by piece.

Neighbouring segments share rows. What one has made is *given* to the next as if it had been
observed, so that every result is one draw, continuous over all borders.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import final

from unnoise.errors import InputError


@final
@dataclass(frozen=True)
class Segment:
    """Rows start .. start + length - 1: those before `fresh` are given, those from `fresh` to
    `keep` - 1 are made and kept, those from `keep` on are made and made again by the next one."""

    start: int
    length: int
    fresh: int
    keep: int

    @property
    def end(self) -> int:
        """The row after the last."""
        return self.start + self.length


def segments(rows: int, length: int, overlap: int) -> list[Segment]:
    """Segments of one `length` over `rows` rows, in order; they keep each row exactly once.

    Neighbours share `overlap` rows and change hands in the middle of them, so that what lies near
    a border was made by a network that saw at least half the overlap on both sides of it.
    """
    if not 0 <= overlap < length:
        raise InputError("an overlap is a part of the length", value=overlap, limit=f"< {length}")
    if rows < length:
        raise InputError(
            "there are fewer rows than one segment has", value=rows, limit=f">= {length}"
        )
    step = length - overlap
    starts = [*range(0, rows - length, step), rows - length]
    borders = [0, *((a + length + b) // 2 for a, b in pairwise(starts)), rows]
    kept = zip(starts, pairwise(borders), strict=True)
    return [Segment(s, length, fresh, keep) for s, (fresh, keep) in kept]


def block(rows: int, start: int, end: int, length: int) -> Segment:
    """The segment that makes rows `start` to `end` - 1 from what lies before them: it ends there,
    or with the last row, and has at most `length` rows. Past the end nothing of it is fresh."""
    stop = min(end, rows)
    first = max(0, stop - max(length, 1))
    return Segment(first, stop - first, min(start, stop), stop)
