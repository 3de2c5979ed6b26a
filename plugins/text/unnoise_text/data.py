"""Documents as windows of tokens."""

from __future__ import annotations

import warnings
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.errors import ConfigError, InputError, LimitExceeded
from unnoise.fields import configured
from unnoise.storage.tensors import digest
from unnoise_text.byte_pairs import learned_tokenizer, pieces
from unnoise_text.characters import Characters, Vocabulary
from unnoise_text.configuration import Configuration, Learned
from unnoise_text.documents import counted, documents
from unnoise_text.noise import adjacency_of, frequencies, informed, transitions_of
from unnoise_text.vocabulary import BPE, Subwords, read_tokenizer

MOST_TOKENS: Final = 1 << 31
"""Largest part of a data set, held in memory with 4 bytes a token."""

_SHOWN: Final = 8  # characters that a warning names

Part = Literal["train", "validation"]


def complete(source: str | Path, configuration: Configuration) -> Configuration:
    """Fill in held_out and all that the data tell."""
    number = counted(source, configuration.field)
    held_out = configuration.held_out
    if held_out is None:
        held_out = 1 if number == 1 else min(1000, max(1, number // 10))
    if held_out >= number and (number, held_out) != (1, 1):
        raise ConfigError(
            "held_out leaves no document to train on", value=held_out, limit=f"0 to {number - 1}"
        )
    wanted = configuration.model_copy(update={"held_out": held_out})
    if wanted.learned is not None:
        return wanted
    vocabulary = _vocabulary(source, wanted, number)
    extra = int(wanted.kernel == "absorbing" and vocabulary.mask is None)
    learned = Learned(
        alphabet=vocabulary.alphabet if isinstance(vocabulary, Characters) else None,
        tokenizer=vocabulary.content if isinstance(vocabulary, Subwords) else None,
        mask=vocabulary.mask,
        unknown=getattr(vocabulary, "unknown", None),
        end=getattr(vocabulary, "end", None),
        ends=number > 1 and getattr(vocabulary, "end", None) is not None,
        hash=vocabulary.hash,
        vocab=vocabulary.size + extra,
    )
    wanted = wanted.model_copy(update={"learned": learned})
    return wanted.model_copy(update={"learned": _process(source, wanted, learned)})


def _vocabulary(source: str | Path, wanted: Configuration, number: int) -> Vocabulary:
    if wanted.tokenizer == "characters":
        alphabet = wanted.alphabet
        if alphabet is None:
            found: set[str] = set()
            for text in documents(source, wanted.field):
                found.update(text)
            alphabet = "".join(sorted(found))
        return Characters(alphabet, wanted.outside, wanted.replacement)
    if wanted.alphabet is not None:
        raise ConfigError("an alphabet belongs to tokenizer='characters'", value=wanted.alphabet)
    if wanted.tokenizer.startswith(BPE):
        size = wanted.tokenizer.removeprefix(BPE)
        if not size.isdecimal():
            raise ConfigError("bpe needs a size", value=wanted.tokenizer, fix=f"{BPE}4096")
        return learned_tokenizer(_texts(source, wanted, "train", number), int(size), wanted.outside)
    return read_tokenizer(wanted.tokenizer, wanted.outside)


def _process(source: str | Path, wanted: Configuration, learned: Learned) -> Learned:
    """`learned` with what the noise takes from the data."""
    size = learned.vocab
    if wanted.kernel == "matrix":
        assert wanted.transitions is not None
        return learned.model_copy(update={"transitions": transitions_of(wanted.transitions, size)})
    walk = wanted.kernel == "nearest"
    if not walk and wanted.schedule != "information":
        return learned
    tokens = _tokens(source, wanted, "train")
    if walk:
        pairs = None
        if wanted.graph == "contexts" and size <= 4096:
            flat = np.bincount(tokens[:-1].astype(np.int64) * size + tokens[1:], minlength=size**2)
            pairs = flat.reshape(size, size).astype(np.float64)
        adjacency = adjacency_of(wanted, size, pairs)
        learned = learned.model_copy(update={"adjacency": adjacency})
    if wanted.schedule == "information":
        own = wanted.model_copy(update={"learned": learned})
        survival = informed(own, frequencies(tokens, size))
        learned = learned.model_copy(update={"survival": survival})
    return learned


class Windows(Dataset[Tensor]):
    """Consecutive windows of `length` tokens, (length,) int64.

    Documents follow each other with a separator between them. What is left at the end is no window
    of its own, unless it is all there is. In training, windows begin anywhere: each is shifted by
    a random number of tokens.
    """

    def __init__(self, tokens: np.ndarray, length: int, part: Part) -> None:
        self.tokens = torch.from_numpy(tokens.astype(np.int32))
        self.length, self.part = length, part

    def __len__(self) -> int:
        return max(len(self.tokens) // self.length, min(1, len(self.tokens)))

    def __getitem__(self, index: int) -> Tensor:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self.length
        if self.part == "train":
            start += int(torch.randint(self.length, ()))
            start = max(0, min(start, len(self.tokens) - self.length))
        return self.tokens[start : start + self.length].long()

    @property
    def fingerprint(self) -> str:
        """A hash of all tokens."""
        return digest(self.tokens)


def read(source: str | Path, configuration: Configuration, part: Part) -> Windows:
    """One part of the data, tokenised document by document."""
    return Windows(_tokens(source, configuration, part), configuration.length, part)


def _tokens(source: str | Path, configuration: Configuration, part: Part) -> np.ndarray:
    vocabulary = configuration.vocabulary
    number = sum(1 for _ in documents(source, configuration.field))
    found = array("i")
    lost, total = Counter[str](), 0
    for text in _texts(source, configuration, part, number):
        if found:
            found.extend(vocabulary.separator)
        for piece in pieces([text]):
            reading = vocabulary.read(piece)
            found.extend(reading.tokens)
            total += len(piece)
            lost.update({c: piece.count(c) for c in reading.unseen})
        if len(found) > MOST_TOKENS:
            raise LimitExceeded("too much text", value=len(found), limit=f"{MOST_TOKENS} tokens")
    if part == "train" and not found:
        raise InputError("not one token is left of the data", value=str(source))
    if lost:
        _warn(lost, total, part)
    return np.frombuffer(found, dtype=np.int32) if found else np.empty(0, np.int32)


def _warn(lost: Counter[str], total: int, part: Part) -> None:
    """Say what share of the data a model does not see: its bits are of the rest."""
    number = sum(lost.values())
    shown = "".join(c for c, _ in lost.most_common(_SHOWN))
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    warnings.warn(
        f"{number / total:.1%} of the characters of the {part} part are outside the vocabulary"
        f" ({shown!r}{more}): the model does not see them, and bits per character are of what"
        " it sees",
        stacklevel=2,
    )


def _texts(
    source: str | Path, configuration: Configuration, part: Part, number: int
) -> Iterator[str]:
    """The documents of one part; every 1 / share-th is held out, a single one by its last tenth."""
    held_out = configuration.held_out or 0
    if configuration.held_out is None and part == "validation":
        held_out = number  # a model of elsewhere, which was trained on none of them
    for i, text in enumerate(documents(source, configuration.field)):
        if number == 1 and configuration.held_out:
            cut = len(text) - len(text) // 10
            yield text[:cut] if part == "train" else text[cut:]
            continue
        kept = (i + 1) * held_out // number > i * held_out // number
        if kept == (part == "validation"):
            yield text


def configure(source: Any, options: dict[str, Any]) -> Configuration:
    """A completed configuration from keywords."""
    return complete(source, configured(Configuration, options))
