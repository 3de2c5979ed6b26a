"""Captions as tokens, and what a text encoder makes of them.

    "A red apple"  ->  [start] a red apple [pad] ... [pad]  ->  states (L, width)

The tokenizer is one of the library `tokenizers`, byte-pair pieces of lower-case words, trained on
the captions and kept as JSON in the configuration. In the place of a padding token the encoder sees
a learned embedding, and then all positions attend to all (Nichol 2021, GLIDE): what stands under
the padding mask changes nothing, and the network may use the places as registers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from jaxtyping import Bool, Float, Int64
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import ConfigError
from unnoise_text2image.configuration import Configuration

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[START]"
SPECIAL: Final = (PAD, UNKNOWN, START)


def trained_tokenizer(captions: Iterable[str], size: int) -> dict[str, Any]:
    """The JSON of a tokenizer with at most `size` tokens, made for `captions`."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer)
    found: dict[str, Any] = json.loads(tokenizer.to_str())
    return found


@final
@dataclass(frozen=True)
class Read:
    """What a tokenizer makes of a text.

    Attributes
    ----------
    ids : of the tokens, the start's first, at most the length that is read.
    cut : the end of the text that is not read.
    unknown : parts of the text that no token stands for.
    pieces : words that are not in the vocabulary and are read in pieces, where the vocabulary was
        made for the captions of the data.
    """

    ids: tuple[int, ...]
    cut: str
    unknown: tuple[str, ...]
    pieces: tuple[str, ...]


@final
class Reader:
    """Reads texts as rows of tokens of one length."""

    def __init__(self, configuration: Configuration) -> None:
        if configuration.tokenizer is None:
            raise ConfigError(
                "the configuration has no tokenizer", fix="let configure() make one from captions"
            )
        self.tokenizer = Tokenizer.from_str(json.dumps(configuration.tokenizer))
        self.length = configuration.length
        self.closed = configuration.diffusers is None
        self.unknown = self.tokenizer.token_to_id(UNKNOWN) if self.closed else None
        if configuration.diffusers is None:
            self.before, self.after = (self.tokenizer.token_to_id(START),), ()
            self.pad = self.tokenizer.token_to_id(PAD)
        else:
            self.before, self.after = _around(self.tokenizer)
            self.pad = configuration.diffusers["pad"]
        self.room = self.length - len(self.before) - len(self.after)

    def read(self, text: str) -> Read:
        found = self.tokenizer.encode(text, add_special_tokens=False)
        cut = text[found.offsets[self.room][0] :] if len(found.ids) > self.room else ""
        spans: dict[int, list[tuple[int, int]]] = {}
        for word, span in zip(found.word_ids, found.offsets, strict=True):
            if word is not None:
                spans.setdefault(word, []).append(span)
        pieces = [text[s[0][0] : s[-1][1]] for s in spans.values() if len(s) > 1 and self.closed]
        unknown = [
            text[a:b]
            for number, (a, b) in zip(found.ids, found.offsets, strict=True)
            if number == self.unknown
        ]
        return Read(self._marked(found.ids), cut, tuple(unknown), tuple(dict.fromkeys(pieces)))

    def _marked(self, ids: Sequence[int]) -> tuple[int, ...]:
        return (*self.before, *ids[: self.room], *self.after)

    def rows(self, texts: Sequence[str]) -> Int64[Tensor, "texts length"]:
        """The tokens of texts, padded at the end."""
        out = torch.full((len(texts), self.length), self.pad, dtype=torch.int64)
        all_found = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        for row, found in zip(out, all_found, strict=True):
            ids = self._marked(found.ids)
            row[: len(ids)] = torch.tensor(ids)
        return out

    def condition(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """What a network is told of texts: "ids" and "mask", which is True at tokens."""
        return self.of(self.rows(texts))

    def of(self, ids: Int64[Tensor, "texts length"]) -> dict[str, Tensor]:
        """What a network is told of rows of tokens."""
        return {"ids": ids, "mask": ids != self.pad}


def _around(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that a tokenizer puts before and after those of a text."""
    whole, bare = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    count = len(whole.ids) - len(bare.ids)
    for first in range(count + 1):
        if whole.ids[first : first + len(bare.ids)] == bare.ids:
            return tuple(whole.ids[:first]), tuple(whole.ids[first + len(bare.ids) :])
    raise ConfigError("this tokenizer does not put a text between marks", value=whole.tokens)


@final
class TextEncoder(nn.Module):
    """A transformer over the tokens of captions."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        without_broken_torchaudio()
        from transformers import BertConfig, BertModel

        self.width = configuration.text_width
        config = BertConfig(
            vocab_size=configuration.vocabulary,
            hidden_size=self.width,
            num_hidden_layers=configuration.text_layers,
            num_attention_heads=configuration.text_heads,
            intermediate_size=2 * self.width,
            max_position_embeddings=configuration.length,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.transformer = BertModel(config, add_pooling_layer=False)
        self.padding = nn.Parameter(0.02 * torch.randn(self.width))

    def forward(
        self, ids: Int64[Tensor, "batch length"], mask: Bool[Tensor, "batch length"]
    ) -> Float[Tensor, "batch length width"]:
        """A state for each place; the first, at the start token, stands for the whole text."""
        embedded = self.transformer.get_input_embeddings()(ids)
        seen = torch.where(mask[..., None], embedded, self.padding)
        states: Tensor = self.transformer(inputs_embeds=seen).last_hidden_state
        return states


def named(condition: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The text of a condition, under the names that a network reads."""
    return {name: condition[f"{prefix}{name}"] for name in ("ids", "mask")}
