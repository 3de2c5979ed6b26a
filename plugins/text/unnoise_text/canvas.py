"""Canvases: what is given of a text, as known tokens with gaps between them.

What is given comes back as it was written, whatever the vocabulary made of it: only gaps are
decoded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final, final

import torch
from torch import Tensor

from unnoise.errors import InputError
from unnoise_text.characters import Vocabulary
from unnoise_text.units import UNITS, tokens_for, weights_of

GAP: Final = re.compile(
    r"(\\*)(_{4,})(?::(\{\d[^{}\s]*\}|[+-]?\d[^\W_]*(?:[.,]\d[^\W_]*)*|[wc]\b))?"
)
_SIZE: Final = re.compile(r"(\{)?(?P<number>\d+)(?P<unit>[wc])?(?(1)\})")
LONGEST: Final = 1 << 16
"""Tokens of one text."""
_SHOWN: Final = 60  # characters of a text that a message shows
_DIGITS: Final = 9  # of a number that is worth reading


@final
@dataclass(frozen=True)
class Piece:
    """A part of a canvas.

    Attributes
    ----------
    text : what is given; None for a gap.
    tokens : of the given text, as the model reads it.
    size : number of tokens.
    spaced : of a gap: the space before it, which the text before it ends with, belongs to its first
        token.
    note : what the model does not see of the given text.
    free : of a gap: it took its share of what was left.
    unit : of a gap that is measured in words ("w") or characters ("c"), of which it has `amount`.
    """

    text: str | None
    tokens: tuple[int, ...]
    size: int
    spaced: bool = False
    note: str = ""
    free: bool = False
    unit: str = ""
    amount: int = 0


FREE: Final = Piece(None, (), 0)
"""A gap that takes its share of what is left."""


@final
@dataclass(frozen=True)
class Canvas:
    """Pieces in a row; gaps and given text take turns.

    Attributes
    ----------
    open : whether gaps had no size of their own, and the text no length.
    """

    pieces: tuple[Piece, ...]
    open: bool = False

    @property
    def size(self) -> int:
        """Number of tokens."""
        return sum(piece.size for piece in self.pieces)

    @property
    def notes(self) -> list[str]:
        """What whoever reads the result should know of it."""
        found = [piece.note for piece in self.pieces if piece.note]
        if self.open:
            sizes = [piece.size for piece in self.pieces if piece.free]
            what = "the gap has" if len(sizes) == 1 else "gaps have"
            found.append(
                f"{what} {' and '.join(map(str, sizes))} tokens, all that is left of {self.size}:"
                " ____:20 has 20, and length is that of the whole text"
            )
        return found

    def tensors(self) -> tuple[Tensor, Tensor]:
        """(L,) int64 tokens, 0 in gaps, and (L,) bool, True where given."""
        value = [t for p in self.pieces for t in (p.tokens if p.text is not None else [0] * p.size)]
        known = [p.text is not None for p in self.pieces for _ in range(p.size)]
        return torch.tensor(value, dtype=torch.int64), torch.tensor(known, dtype=torch.bool)

    def spans(self) -> list[tuple[Piece, int, int]]:
        """(piece, start, end) in tokens."""
        ends = list(accumulate(piece.size for piece in self.pieces))
        return [(p, end - p.size, end) for p, end in zip(self.pieces, ends, strict=True)]

    def text(self, tokens: Sequence[int], vocabulary: Vocabulary, end: int | None = None) -> str:
        """The whole text: what was given, and the decoded gaps between; up to a token `end`, if
        the last gap has one."""
        return "".join(text for text, _ in self.parts(tokens, vocabulary, end))

    def parts(
        self, tokens: Sequence[int], vocabulary: Vocabulary, end: int | None = None
    ) -> list[tuple[str, bool]]:
        """(text, whether it was given), in order."""
        found: list[tuple[str, bool]] = []
        for piece, start, stop in self.spans():
            if piece.text is not None:
                found.append((piece.text, True))
                continue
            own = list(tokens[start:stop])
            if stop == self.size and end in own:
                own = own[: own.index(end)]
            text = vocabulary.decode_after(tokens[:start], own)
            found.append((text.removeprefix(" ") if piece.spaced else text, False))
        return found


def canvas(template: str, length: int, vocabulary: Vocabulary) -> Canvas:
    r"""A template with gaps: `____` (its share of what is left of `length`), `____:12` of tokens,
    `____:12w` of words, `____:12c` of characters; `____:{12}` where a letter or digit
    follows. `\____` is no gap, and `\\____` a backslash and a gap.

    Raises InputError: no gap, a size that is none of these, nothing left for a free one, longer
    than `length`.
    """
    return filled(pieces_of(template, vocabulary), length)


def fixed(template: str, vocabulary: Vocabulary) -> int:
    """Tokens of all but free gaps; 0 where a free gap fills the rest."""
    pieces = pieces_of(template, vocabulary)
    free = any(piece.text is None and not piece.size for piece in pieces)
    return 0 if free else sum(piece.size for piece in pieces)


def pieces_of(template: str, vocabulary: Vocabulary) -> list[Piece]:
    """Given text and gaps in order."""
    words: list[str | Piece] = [""]
    at = 0
    for gap in GAP.finditer(template):
        escapes = len(gap[1])
        literal = escapes % 2 == 1
        text = template[at : gap.start()] + "\\" * (escapes // 2) + gap[2] * literal
        words[-1] = f"{words[-1]}{text}"
        at = gap.end(2) if literal else gap.end()
        if not literal:
            words += [_gap(gap), ""]
    words[-1] = f"{words[-1]}{template[at:]}"
    if len(words) == 1:
        raise InputError(
            "the template has no gap",
            value=template[:_SHOWN],
            limit="____ of free length, ____:12 of 12 tokens, ____:12w of words, ____:90c of"
            " characters",
        )
    return _joined(words, vocabulary)


def given(prompt: str | None, suffix: str | None, length: int, vocabulary: Vocabulary) -> Canvas:
    """A free gap after `prompt` and before `suffix`."""
    pieces = _joined([prompt or "", FREE, suffix or ""], vocabulary)
    return replace(filled(pieces, length), open=False)


def filled(pieces: Sequence[Piece], length: int) -> Canvas:
    """A canvas in which free gaps share what is left of `length`."""
    taken = sum(piece.size for piece in pieces)
    free = [piece for piece in pieces if piece.text is None and not piece.size]
    left = length - taken
    if left < len(free):
        raise InputError(
            "what is given does not fit into the length",
            value=f"{taken} tokens" + (f" and {len(free)} free gap(s)" if free else ""),
            limit=f"{length} tokens",
            fix="shorten it, or pass a larger length=",
        )
    shares = iter([left // len(free) + (k < left % len(free)) for k in range(len(free))])
    sized = [
        piece
        if piece.text is not None or piece.size
        else replace(piece, size=next(shares), free=True)
        for piece in pieces
    ]
    return Canvas(tuple(sized), bool(free))


def _gap(found: re.Match[str]) -> Piece:
    if found[3] is None:
        return FREE
    size = _SIZE.fullmatch(found[3])
    if size is None:
        raise InputError(
            "what a gap has is a whole number, of tokens, or of w (words) or c (characters)",
            value=f"____:{found[3]}",
            limit="____:12, ____:12w, ____:12c",
            fix="where a letter or digit follows, write ____:{12}",
        )
    number, unit = size["number"], size["unit"] or ""
    if len(number) > _DIGITS or not 1 <= int(number) <= LONGEST:
        what = UNITS.get(unit, "tokens")
        raise InputError(
            f"{what} of a gap are out of range",
            value=f"____:{found[3]}",
            limit=f"1 to {LONGEST}",
            fix="leave the number out for all that is left of length",
        )
    return Piece(None, (), int(number), unit=unit, amount=int(number))


def _joined(words: Sequence[str | Piece], vocabulary: Vocabulary) -> list[Piece]:
    """Pieces of given texts and gaps in turn, empty texts left out."""
    found: list[Piece] = []
    spaced = False
    given = " ".join(word for word in words if isinstance(word, str))
    for place, word in enumerate(words):
        if isinstance(word, Piece):
            spaced = spaced or (word.unit == "w" and vocabulary.glued and not found)
            sized = _measured(word, given, spaced, vocabulary) if word.unit else word
            found.append(replace(sized, spaced=spaced))
        elif word:
            # Where a space belongs to the token after it, one at the end of what is given belongs
            # to the first token of the gap.
            before_gap = vocabulary.glued and place < len(words) - 1
            spaced = before_gap and word.endswith(" ")
            found.append(_given(word, word[:-1] if spaced else word, vocabulary, before_gap))
            continue
        spaced = False
    return found


def _measured(gap: Piece, given: str, spaced: bool, vocabulary: Vocabulary) -> Piece:
    """A gap of words or characters, with the tokens that these usually are."""
    amount = gap.amount + (spaced and gap.unit == "c")  # its first space is one that is given
    weights = weights_of(vocabulary, vocabulary.size, gap.unit)
    size = tokens_for(vocabulary, given, amount, gap.unit)
    what = f"____:{gap.amount}{gap.unit}"
    if weights is None:
        about = f"{what} has {size} tokens, about {gap.amount} {UNITS[gap.unit]}: this vocabulary"
        return replace(gap, size=size, unit="", note=f"{about} has no tokens that begin words")
    own = weights[weights >= 0]
    low, high = int(own.min()), int(own.max())
    size = max(size, -(-amount // max(high, 1)))
    size = min(size, amount // low) if low else size
    note = f"{what} has {gap.amount} {UNITS[gap.unit]} in {size} tokens"
    return replace(gap, size=size, amount=amount, note=note)


def _given(text: str, read: str, vocabulary: Vocabulary, before_gap: bool) -> Piece:
    reading = vocabulary.read(read)
    seen, tokens = reading.text, reading.tokens
    if before_gap and seen != read and seen.endswith(" "):  # what was no space became one
        seen = seen[:-1]
        tokens = tuple(vocabulary.encode(seen))
    notes = [f"reads {_short(read)} as {_short(seen)}"] if seen != read else []
    if reading.unseen:
        notes.append(f"sees nothing of {reading.unseen!r} in {_short(read)}")
    note = f"the model {' and '.join(notes)}" if notes else ""
    return Piece(text, tokens, len(tokens), note=note)


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
