"""Byte pairs that are learned from texts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Final

from unnoise.errors import ConfigError
from unnoise_text.characters import Outside
from unnoise_text.vocabulary import Subwords

LARGEST: Final = 1 << 18


def learned_tokenizer(texts: Iterable[str], size: int, outside: Outside) -> Subwords:
    """Byte-pair encoding of `size` tokens learned from `texts`, lossless.

    With outside="error" it begins with all 256 bytes, so that nothing is outside. Else its alphabet
    is closed: the bytes of `texts`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    whole = outside == "error"
    least = 258 if whole else 64
    if not least <= size <= LARGEST:
        raise ConfigError(
            "size of a vocabulary",
            value=size,
            limit=f"{least} to {LARGEST}",
            fix="outside='fold' needs fewer, without the bytes that the texts lack"
            * (whole and size < least),
        )
    special = [_MASK] if whole else [_UNKNOWN, _MASK]
    tokenizer = Tokenizer(models.BPE(unk_token=None if whole else _UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if whole else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(pieces(texts), trainer)
    if (learned := tokenizer.get_vocab_size()) < size:
        warnings.warn(
            f"the texts have byte pairs for {learned} tokens only, {size} were asked for",
            stacklevel=2,
        )
    return Subwords(
        tokenizer.to_str(),
        mask=tokenizer.token_to_id(_MASK),
        unknown=tokenizer.token_to_id(_UNKNOWN),
        outside=outside,
    )


_UNKNOWN, _MASK = "[ UNK ]", "[ MASK ]"  # with spaces, which byte pairs write otherwise


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """Long texts in pieces that the library takes well, cut at spaces."""
    for text in texts:
        start = 0
        while start < len(text):
            end = text.find(" ", start + 10_000)
            end = len(text) if end < 0 else end
            yield text[start:end]
            start = end
