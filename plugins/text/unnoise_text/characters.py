"""Vocabularies: text to token numbers and back; and that of single characters.

A vocabulary is stored whole in the bundle, as text: a model can never be used with another one.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias, final

from torch import Tensor

from unnoise.errors import ConfigError, InputError
from unnoise_text.folding import Folding

Outside: TypeAlias = Literal["error", "fold", "drop", "map"]

_SHOWN = 8  # characters that a message names


@final
@dataclass(frozen=True)
class Reading:
    """A text as a model reads it.

    Attributes
    ----------
    text : what is left of it in the vocabulary's words.
    tokens : of that.
    unseen : characters of which the model sees nothing, each once.
    """

    text: str
    tokens: tuple[int, ...]
    unseen: str = ""


class Vocabulary(ABC):
    """Numbers 0 .. size - 1 for pieces of text.

    Attributes
    ----------
    mask : the number of a mask token of its own, if it has one.
    separator : numbers that stand between two documents.
    glued : whether a space belongs to the token that follows it.
    """

    mask: int | None
    separator: tuple[int, ...]
    glued: bool

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of tokens."""

    @property
    @abstractmethod
    def hash(self) -> str:
        """SHA-256 of everything that decides what `encode` and `decode` do."""

    @abstractmethod
    def read(self, text: str) -> Reading:
        """`text` as the model reads it. InputError for what the vocabulary cannot say, if it
        refuses that."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token numbers."""

    @abstractmethod
    def unsayable(self, vocab: int) -> tuple[int, ...]:
        """Those of 0 .. vocab - 1, the tokens of a network, that stand for no text."""

    def characters(self, tokens: Sequence[int]) -> int:
        """Characters of a text of which `tokens` are a piece. One that is cut belongs to the piece
        that begins it."""
        return len(self.decode(tokens))

    def pieces(self) -> list[str | None]:
        """The text that each of the tokens 0 .. size - 1 adds where something stands before it;
        None for a part of a character."""
        return [self.decode([i]) for i in range(self.size)]

    def bytes_of(self) -> list[bytes | None] | None:
        """The bytes that each of the tokens 0 .. size - 1 adds wherever it stands; None where that
        depends on its place."""
        return [None if text is None else text.encode() for text in self.pieces()]

    def spaced(self, vocab: int) -> Tensor | None:
        """(vocab,) bool, True for tokens that begin with a space where something stands before
        them; None where a space is a token of its own."""
        return None

    def encode(self, text: str) -> list[int]:
        """Token numbers of `text` as the model reads it."""
        return list(self.read(text).tokens)

    def decode_after(self, before: Sequence[int], tokens: Sequence[int]) -> str:
        """The text that `tokens` add to that of `before`: some tokens begin with a space only
        where something stands before them."""
        start = self.decode(before)
        whole = self.decode([*before, *tokens])
        return whole[len(start) :] if whole.startswith(start) else self.decode(tokens)


@final
@dataclass(frozen=True)
class Characters(Vocabulary):
    """One token per character of `alphabet`.

    Parameters
    ----------
    outside : other characters are an error; or they are folded, see `unnoise_text.folding`, and
        those that nothing is known for become a space ("fold"), nothing ("drop") or `replacement`
        ("map").
    """

    alphabet: str
    outside: Outside = "error"
    replacement: str = " "
    mask: int | None = None
    glued: bool = False

    def __post_init__(self) -> None:
        if len(set(self.alphabet)) != len(self.alphabet) or len(self.alphabet) < 2:
            raise ConfigError(
                "an alphabet is two different characters or more", value=self.alphabet[:40]
            )
        if self.outside == "map" and (
            len(self.replacement) != 1 or self.replacement not in self.alphabet
        ):
            raise ConfigError(
                "replacement is one character of the alphabet",
                value=self.replacement,
                fix="pass replacement= or outside='drop'",
            )

    @cached_property
    def _number(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.alphabet)}

    @property
    def separator(self) -> tuple[int, ...]:  # type: ignore[override]
        """A new line, or a space, or nothing: the first that the alphabet has."""
        return next(((self._number[c],) for c in "\n " if c in self._number), ())

    @property
    def size(self) -> int:
        return len(self.alphabet)

    @property
    def hash(self) -> str:
        rule = f"characters\0{self.alphabet}\0{self.outside}\0{self.replacement}"
        return hashlib.sha256(rule.encode()).hexdigest()

    @cached_property
    def _folding(self) -> Folding:
        rest = {"fold": None, "drop": "", "map": self.replacement}
        return Folding(self._number.__contains__, rest[self.outside])

    def read(self, text: str) -> Reading:
        number = self._number
        try:
            return Reading(text, tuple([number[c] for c in text]))
        except KeyError:
            if self.outside == "error":
                raise lacking(sorted({c for c in text if c not in number})) from None
        folded = self._folding.fold(text)
        tokens = tuple([number[c] for c in folded])
        return Reading(folded, tokens, self._folding.lacking(text))

    def unsayable(self, vocab: int) -> tuple[int, ...]:
        return tuple(range(self.size, vocab))

    def decode(self, tokens: Sequence[int]) -> str:
        size = self.size
        return "".join(self.alphabet[i] for i in tokens if i < size)


def lacking(found: list[str]) -> InputError:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return InputError(
        "characters outside the vocabulary",
        value="".join(found[:_SHOWN]) + more,
        fix="outside='fold' writes them in the vocabulary's letters, 'drop' leaves them out, 'map'"
        " replaces them",
    )
