"""Networks: any masked language model of transformers, told the time where the noise needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from unnoise.compat import without_broken_torchaudio
from unnoise.denoise import Condition
from unnoise.errors import ConfigError
from unnoise.spaces import Layout
from unnoise_text.configuration import Configuration

_FREQUENCIES: Final = 64


class Encoder(nn.Module):
    """Logits over tokens from tokens, by a bidirectional transformer.

    Parameters
    ----------
    model : an `AutoModelForMaskedLM`.
    width : of its embeddings, when the network is told the time, which is added to them.
    frame : tokens that it expects before and after every text.
    """

    def __init__(
        self,
        model: nn.Module,
        width: int | None = None,
        frame: tuple[tuple[int, ...], tuple[int, ...]] = ((), ()),
    ) -> None:
        super().__init__()
        self.model = model
        self.frame = frame
        self.time: nn.Module | None = None
        if width is not None:
            self.time = nn.Sequential(
                nn.Linear(_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
            )
        exponent = torch.arange(_FREQUENCIES // 2) / (_FREQUENCIES // 2)
        self.register_buffer("frequencies", 1000 * 1e-4**exponent, persistent=False)

    def forward(
        self, x_t: Tensor, label: Tensor, layout: Layout, condition: Condition = None
    ) -> Tensor:
        """x_t (B, L) int64, label (B,) the time in [0, 1]; returns (B, L, K)."""
        before, length = len(self.frame[0]), x_t.shape[1]
        tokens, mask = self._framed(x_t, layout.mask)
        inputs: dict[str, Tensor] = {"input_ids": tokens}
        if self.time is not None:
            angle = label[:, None] * self.frequencies
            told = self.time(torch.cat([angle.cos(), angle.sin()], 1))
            embed = self.model.get_input_embeddings()  # type: ignore[operator]
            inputs = {"inputs_embeds": embed(tokens) + told[:, None]}
        if mask is not None:
            inputs["attention_mask"] = mask
        logits: Tensor = self.model(**inputs).logits
        return logits[:, before : before + length]

    def _framed(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Tokens with the frame around the real ones of each sample, and the mask of both."""
        first, last = (x.new_tensor(part).expand(len(x), -1) for part in self.frame)
        a, b = first.shape[1], last.shape[1]
        if mask is None or a + b == 0:
            whole = torch.cat([first, x, last], 1) if a + b else x
            return whole, None if mask is None else mask.long()
        ends = a + mask.sum(1, keepdim=True) + torch.arange(b, device=x.device)
        whole = torch.cat([first, x, x.new_zeros(last.shape)], 1).scatter(1, ends, last)
        real = torch.arange(whole.shape[1], device=x.device) < a + b + mask.sum(1, keepdim=True)
        return whole, real.long()


def network_of(configuration: Configuration) -> Encoder:
    """A fresh network of a completed configuration."""
    known = configuration.known
    inner = configuration.inner or 3 * configuration.width // 2
    room = configuration.length + sum(map(len, known.frame))
    entries: dict[str, Any] = {
        "vocab_size": known.vocab,
        "hidden_size": configuration.width,
        "num_hidden_layers": configuration.depth,
        "num_attention_heads": configuration.heads,
        "intermediate_size": inner,
        "max_position_embeddings": room,
        "pad_token_id": None,
        # 0.02 suits a width near 1000; narrow networks then stay with single tokens for long
        "initializer_range": configuration.width**-0.5,
    }
    if configuration.architecture == "modernbert":  # every layer sees the whole window
        special = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
        entries |= {"global_attn_every_n_layers": 1, **dict.fromkeys(special)}
    model = build(configuration.architecture, {**entries, **configuration.settings})
    width = None if configuration.kernel == "absorbing" else configuration.width
    return Encoder(model, width, known.frame)


def build(architecture: str, entries: Mapping[str, Any]) -> nn.Module:
    """A masked language model of transformers with fresh weights."""
    without_broken_torchaudio()
    from transformers import AutoConfig, AutoModelForMaskedLM  # slow to import

    try:
        configuration = AutoConfig.for_model(architecture, **entries)
    except Exception as error:  # every architecture has checks and errors of its own
        raise ConfigError(
            "transformers cannot configure this architecture",
            value=architecture,
            fix=str(error).splitlines()[0][:200],
        ) from error
    asked = attention_of(configuration)
    for implementation in (asked,) if asked else ("sdpa", "eager"):
        try:
            model: nn.Module = AutoModelForMaskedLM.from_config(
                configuration, attn_implementation=implementation, trust_remote_code=False
            )
        except ValueError as error:
            if "scaled_dot_product_attention" in str(error) and implementation == "sdpa":
                continue
            raise ConfigError(
                f"transformers has no masked language model of {architecture!r}",
                value=str(error).splitlines()[0][:200],
                fix="e.g. modernbert, bert or roberta",
            ) from error
        return model
    raise AssertionError


def attention_of(configuration: Any) -> str | None:
    """The implementation of attention that settings choose, if any.

    Raises ConfigError for one with a "/": transformers fetches that from the hub, and runs it.
    """
    asked = getattr(configuration, "_attn_implementation", None)
    if asked is not None and (not isinstance(asked, str) or "/" in asked):
        raise ConfigError(
            "this implementation of attention is code from the hub, which is never run",
            value=asked,
            limit="one of transformers itself",
            fix="e.g. eager or sdpa",
        )
    return asked
