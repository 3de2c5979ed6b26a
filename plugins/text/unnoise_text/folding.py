"""Folding: what a closed alphabet lacks, said in what it has.

    a capital       its small letter, or the other way round      T -> t
    an accent       its letter                                    é -> e
    a typographer's mark   that of a keyboard                     ’ -> '
    a digit         its word, between spaces                      4 -> " four "
    anything else   the rest, which `outside` decides about

Everything is looked up in the alphabet: a letter that it has stays as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final, final

DIGITS: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
)  # fmt: skip
_MARKS: Final = {
    "‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "–": "-", "—": "-", "‐": "-", "−": "-", "…": "...",
    "Ł": "L", "ł": "l", "Ø": "O", "ø": "o", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE",
}  # fmt: skip
_BREAK, _CUT = "\uffff", "\ufffe"  # no characters: where words part, and where one is left out
_BREAKS: Final = re.compile(f" *{_BREAK}[ {_BREAK}]*")
_CUTS: Final = re.compile(f" (?:{_CUT} *)+")


@final
class Folding(dict[int, str]):
    """What stands for each character, for `str.translate`; found when it is first met.

    Parameters
    ----------
    knows : whether the alphabet has a character.
    rest : what stands for a character that nothing is known for: any text, None for a break between
        words, of which several are one space, or nothing, and then two spaces around it are one.
    """

    def __init__(self, knows: Callable[[str], bool], rest: str | None) -> None:
        super().__init__()
        self.knows = knows
        self.space = " " if knows(" ") else ""
        self.rest = _BREAK if rest is None else rest or _CUT
        self.unseen: set[str] = set()

    def __missing__(self, code: int) -> str:
        character = chr(code)
        found = next((f for f in _candidates(character) if all(map(self.knows, f))), None)
        if found is None:
            found = _BREAK if character.isspace() else self._spelled(character)
        if found is None:
            self.unseen.add(character)
            found = self.rest
        self[code] = found
        return found

    def fold(self, text: str) -> str:
        """`text` in the alphabet."""
        return self.joined(self.marked(text))

    def marked(self, text: str) -> str:
        """As `fold`, with marks where words part and where something was left out."""
        return text.translate(self)

    def joined(self, marked: str) -> str:
        """The text of marked pieces in a row."""
        if _CUT in marked:
            marked = _CUTS.sub(" ", marked).replace(_CUT, "")
        return _BREAKS.sub(self.space, marked) if _BREAK in marked else marked

    def lacking(self, text: str) -> str:
        """The characters of `text` that nothing is known for, each once."""
        self.fold("".join(set(text)))
        return "".join(sorted(self.unseen.intersection(text)))

    def _spelled(self, character: str) -> str | None:
        digit = unicodedata.digit(character, None)
        words = () if digit is None else (DIGITS[digit], DIGITS[digit].upper())
        known = next((word for word in words if all(map(self.knows, word))), None)
        return None if known is None else f"{_BREAK}{known}{_BREAK}"


def _candidates(character: str) -> Iterator[str]:
    """What may stand for a character, the nearest first."""
    plain = _MARKS.get(character, character)
    base = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    for form in (character, plain, base):
        if form:
            yield from (form, form.lower(), form.casefold(), form.upper())
