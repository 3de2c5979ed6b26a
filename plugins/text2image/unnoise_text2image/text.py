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

without_broken_torchaudio()
from transformers import BertConfig, BertModel  # noqa: E402  (after the line above)

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
    pieces : words that are not in the vocabulary and are read in pieces.
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
        self.pad, self.unknown, self.start = (self.tokenizer.token_to_id(s) for s in SPECIAL)

    def read(self, text: str) -> Read:
        found = self.tokenizer.encode(text)
        room = self.length - 1
        cut = text[found.offsets[room][0] :] if len(found.ids) > room else ""
        spans: dict[int, list[tuple[int, int]]] = {}
        for word, span in zip(found.word_ids, found.offsets, strict=True):
            if word is not None:
                spans.setdefault(word, []).append(span)
        pieces = [text[s[0][0] : s[-1][1]] for s in spans.values() if len(s) > 1]
        unknown = [
            text[a:b]
            for number, (a, b) in zip(found.ids, found.offsets, strict=True)
            if number == self.unknown
        ]
        return Read(
            (self.start, *found.ids[:room]), cut, tuple(unknown), tuple(dict.fromkeys(pieces))
        )

    def rows(self, texts: Sequence[str]) -> Int64[Tensor, "texts length"]:
        """The tokens of texts, padded at the end."""
        out = torch.full((len(texts), self.length), self.pad, dtype=torch.int64)
        for row, found in zip(out, self.tokenizer.encode_batch(list(texts)), strict=True):
            ids = [self.start, *found.ids[: self.length - 1]]
            row[: len(ids)] = torch.tensor(ids)
        return out

    def condition(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """What a network is told of texts: "ids" and "mask", which is True at tokens."""
        return self.of(self.rows(texts))

    def of(self, ids: Int64[Tensor, "texts length"]) -> dict[str, Tensor]:
        """What a network is told of rows of tokens."""
        return {"ids": ids, "mask": ids != self.pad}


@final
class TextEncoder(nn.Module):
    """A transformer over the tokens of captions."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
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
