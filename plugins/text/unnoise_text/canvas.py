"""Canvases: what is given of a text, as known tokens with gaps between them.

What is given comes back as it was written, whatever the vocabulary made of it: only gaps are
decoded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, final

import torch
from torch import Tensor

from unnoise.errors import InputError
from unnoise_text.vocabulary import Vocabulary

GAP: Final = re.compile(r"_{4,}(?::(\d+))?")
LONGEST: Final = 1 << 16
"""Tokens of one text."""


@final
@dataclass(frozen=True)
class Piece:
    """A part of a canvas: given `text`, or a gap (None) of `size` tokens."""

    text: str | None
    tokens: tuple[int, ...]
    size: int


@final
@dataclass(frozen=True)
class Canvas:
    """Pieces in a row; gaps and given text take turns."""

    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Number of tokens."""
        return sum(piece.size for piece in self.pieces)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """(L,) int64 tokens, 0 in gaps, and (L,) bool, True where given."""
        value = [t for p in self.pieces for t in (p.tokens if p.text is not None else [0] * p.size)]
        known = [p.text is not None for p in self.pieces for _ in range(p.size)]
        return torch.tensor(value, dtype=torch.int64), torch.tensor(known, dtype=torch.bool)

    def spans(self) -> list[tuple[Piece, int, int]]:
        """(piece, start, end) in tokens."""
        ends = list(accumulate(piece.size for piece in self.pieces))
        return [(p, end - p.size, end) for p, end in zip(self.pieces, ends, strict=True)]

    def text(self, tokens: Sequence[int], vocabulary: Vocabulary) -> str:
        """The whole text: what was given, and the decoded gaps between."""
        return "".join(text for text, _ in self.parts(tokens, vocabulary))

    def parts(self, tokens: Sequence[int], vocabulary: Vocabulary) -> list[tuple[str, bool]]:
        """(text, whether it was given), in order."""
        found: list[tuple[str, bool]] = []
        for piece, start, end in self.spans():
            if piece.text is not None:
                found.append((piece.text, True))
                continue
            text = vocabulary.decode_after(tokens[:start], tokens[start:end])
            if vocabulary.glued and found and found[-1][0][-1:].isspace():
                text = text.removeprefix(" ")  # the space was given already
            found.append((text, False))
        return found


def canvas(template: str, length: int, vocabulary: Vocabulary) -> Canvas:
    """A template with `____` (its share of what is left of `length`) and `____:12` gaps.

    Raises InputError: no gap, nothing left for a free one, longer than `length`.
    """
    return filled(_pieces(template, vocabulary), length)


def fixed(template: str, vocabulary: Vocabulary) -> int:
    """Tokens of all but free gaps; 0 where a free gap fills the rest."""
    pieces = _pieces(template, vocabulary)
    return 0 if None in pieces else sum(piece.size for piece in pieces if piece is not None)


def _pieces(template: str, vocabulary: Vocabulary) -> list[Piece | None]:
    """Given text and gaps in order; None is a free gap."""
    found = list(GAP.finditer(template))
    if not found:
        raise InputError(
            "the template has no gap",
            value=template[:60],
            limit="____ of free length, or ____:12 of 12 tokens",
        )
    pieces: list[Piece | None] = []
    at = 0
    for gap in found:
        if gap.start() > at:
            pieces.append(_given(template[at : gap.start()], vocabulary, True))
        size = gap[1]
        if size is not None and not 1 <= int(size) <= LONGEST:
            raise InputError("tokens of a gap", value=int(size), limit=f"1 to {LONGEST}")
        pieces.append(None if size is None else Piece(None, (), int(size)))
        at = gap.end()
    if at < len(template):
        pieces.append(_given(template[at:], vocabulary, False))
    return pieces


def given(prompt: str | None, suffix: str | None, length: int, vocabulary: Vocabulary) -> Canvas:
    """A free gap after `prompt` and before `suffix`."""
    pieces: list[Piece | None] = [None]
    if prompt:
        pieces.insert(0, _given(prompt, vocabulary, True))
    if suffix:
        pieces.append(_given(suffix, vocabulary, False))
    return filled(pieces, length)


def filled(pieces: Sequence[Piece | None], length: int) -> Canvas:
    """A canvas in which free gaps share what is left of `length`."""
    taken = sum(piece.size for piece in pieces if piece is not None)
    free = sum(piece is None for piece in pieces)
    left = length - taken
    if left < free:
        raise InputError(
            "what is given does not fit into the length",
            value=f"{taken} tokens" + (f" and {free} free gap(s)" if free else ""),
            limit=f"{length} tokens",
            fix="shorten it, or pass a larger length=",
        )
    shares = iter([left // max(free, 1) + (k < left % max(free, 1)) for k in range(free)])
    return Canvas(tuple(Piece(None, (), next(shares)) if p is None else p for p in pieces))


def _given(text: str, vocabulary: Vocabulary, before_gap: bool) -> Piece:
    # Where a space belongs to the token after it, a space at the end of what is given belongs to
    # the first token of the gap.
    read = text.rstrip() if vocabulary.glued and before_gap else text
    tokens = tuple(vocabulary.encode(read))
    return Piece(text, tokens, len(tokens))
