"""Vocabularies: text to token numbers and back.

A vocabulary is stored whole in the bundle, as text: a model can never be used with another one.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import BundleError, ConfigError, InputError, UnnoiseError

Outside: TypeAlias = Literal["error", "drop", "map"]

BPE: Final = "bpe:"
LARGEST: Final = 1 << 18
_SHOWN = 8  # characters that a message names


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
    def encode(self, text: str) -> list[int]:
        """Token numbers. InputError for what the vocabulary cannot say, if it refuses that."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token numbers."""

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
    outside : other characters are an error, are dropped, or become `replacement`.
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

    def encode(self, text: str) -> list[int]:
        number = self._number
        if self.outside == "error":
            try:
                return [number[c] for c in text]
            except KeyError:
                raise _outside(sorted({c for c in text if c not in number})) from None
        if self.outside == "map":
            other = number[self.replacement]
            return [number.get(c, other) for c in text]
        return [number[c] for c in without(text, [c in number for c in text])]

    def decode(self, tokens: Sequence[int]) -> str:
        size = self.size
        return "".join(self.alphabet[i] for i in tokens if i < size)


@final
@dataclass(frozen=True)
class Subwords(Vocabulary):
    """A tokenizer of the `tokenizers` library, as its own JSON.

    Parameters
    ----------
    content : tokenizer.json.
    mask, unknown, end : numbers of special tokens, where it has them.
    outside : text that becomes the unknown token is an error, is dropped, or stays it.
    """

    content: str
    mask: int | None = None
    unknown: int | None = None
    end: int | None = None
    outside: Outside = "error"
    glued: bool = field(default=True, init=False)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(self.content)
        except Exception as error:  # the library raises bare Exceptions
            raise ConfigError("this is not a tokenizer.json", value=str(error)[:200]) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @property
    def separator(self) -> tuple[int, ...]:  # type: ignore[override]
        """The end-of-text token, or a new line, or a space: the first that there is."""
        if self.end is not None:
            return (self.end,)
        for text in "\n ":
            tokens = self._ids(text)
            if tokens and self.unknown not in tokens and self.decode(tokens) == text:
                return tuple(tokens)
        return ()

    @property
    def frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens that the tokenizer puts before and after a text."""
        plain = self._tokenizer.encode("a", add_special_tokens=False).ids
        whole = self._tokenizer.encode("a", add_special_tokens=True).ids
        for start in range(len(whole) - len(plain) + 1):
            if whole[start : start + len(plain)] == plain:
                return tuple(whole[:start]), tuple(whole[start + len(plain) :])
        return (), ()

    @cached_property
    def _size(self) -> int:
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def size(self) -> int:
        return self._size

    @property
    def hash(self) -> str:
        rule = f"{self.content}\0{self.mask}\0{self.unknown}\0{self.end}\0{self.outside}"
        return hashlib.sha256(rule.encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        tokens: list[int] = encoding.ids
        if self.unknown is None or self.outside == "map" or self.unknown not in tokens:
            return tokens
        pairs = zip(tokens, encoding.offsets, strict=True)
        spans = [span for token, span in pairs if token == self.unknown]
        if self.outside == "error":
            raise _outside(sorted({text[a:b].strip() for a, b in spans}))
        kept = [True] * len(text)
        for a, b in spans:
            kept[a:b] = [c.isspace() for c in text[a:b]]
        rest = without(text, kept)
        return [] if not rest else [i for i in self._ids(rest) if i != self.unknown]

    def _ids(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


def read_tokenizer(folder: str | Path, outside: Outside) -> Subwords:
    """The tokenizer in a folder of transformers (`AutoTokenizer`); nothing is downloaded."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError(
            "there is no such tokenizer",
            value=str(folder),
            limit=f"characters, {BPE}SIZE, or a folder with tokenizer.json",
        )
    without_broken_torchaudio()
    from transformers import AutoTokenizer  # slow to import

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever transformers raises on files that it cannot read
        what = "this folder holds no tokenizer that transformers can read"
        raise not_loaded(path, what, error) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            "this tokenizer has no fast version",
            value=type(tokenizer).__name__,
            fix="save it as a folder with tokenizer.json",
        )
    return Subwords(
        backend.to_str(),
        mask=tokenizer.mask_token_id,
        unknown=tokenizer.unk_token_id,
        end=tokenizer.eos_token_id,
        outside=outside,
    )


def not_loaded(folder: Path, what: str, error: Exception) -> UnnoiseError:
    """What to raise for a folder that transformers refuses: `what`, or that it wants to run code
    of its own (an `auto_map` in a configuration)."""
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file() and b'"auto_map"' in path.read_bytes():
            return BundleError(
                "this folder brings code of its own, which is never run",
                value=str(path),
                limit="architectures and tokenizers of transformers itself",
                fix="use a model that needs no trust_remote_code",
            )
    said = (str(error).splitlines() or [""])[0][:200]
    return InputError(what, value=str(folder), fix=f"{type(error).__name__}: {said}")


def learned_tokenizer(texts: Iterable[str], size: int, outside: Outside) -> Subwords:
    """Byte-pair encoding of `size` tokens learned from `texts`, lossless on their characters; any
    other character is unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if not 64 <= size <= LARGEST:
        raise ConfigError("size of a vocabulary", value=size, limit=f"64 to {LARGEST}")
    tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[_UNKNOWN, _MASK], show_progress=False
    )
    tokenizer.train_from_iterator(pieces(texts), trainer)
    return Subwords(
        tokenizer.to_str(),
        mask=tokenizer.token_to_id(_MASK),
        unknown=tokenizer.token_to_id(_UNKNOWN),
        outside=outside,
    )


_UNKNOWN, _MASK = "[UNK]", "[MASK]"


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """Long texts in pieces that the library takes well, cut at spaces."""
    for text in texts:
        start = 0
        while start < len(text):
            end = text.find(" ", start + 10_000)
            end = len(text) if end < 0 else end
            yield text[start:end]
            start = end


def without(text: str, kept: Sequence[bool]) -> str:
    """The characters of `text` that are kept; where others stood between two spaces, one space."""
    found: list[str] = []
    cut = False
    for character, keep in zip(text, kept, strict=True):
        if not keep:
            cut = True
        elif not (cut and character == " " and found[-1:] == [" "]):
            found.append(character)
            cut = False
    return "".join(found)


def _outside(found: list[str]) -> InputError:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return InputError(
        "characters outside the vocabulary",
        value="".join(found[:_SHOWN]) + more,
        fix="outside='drop' leaves them out, outside='map' replaces them",
    )
