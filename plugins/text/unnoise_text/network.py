"""Networks: any masked language model of transformers, told the time where the noise needs it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from inspect import signature
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.compat import without_broken_torchaudio
from unnoise.denoise import Condition, TokenNetwork
from unnoise.errors import ConfigError
from unnoise.spaces import Layout
from unnoise_text.configuration import Configuration
from unnoise_text.some_rows import thinned, wanting

_FREQUENCIES: Final = 64
_PROBED: Final = 48  # tokens of a text that is long enough to tell what is near


class Encoder(TokenNetwork):
    """Logits over tokens from tokens, by a bidirectional transformer.

    Parameters
    ----------
    model : an `AutoModelForMaskedLM`.
    vocab : number of its tokens.
    width : of its embeddings, when the network is told the time, which is added to them.
    frame : tokens that it expects before and after every text.

    Attributes
    ----------
    padding : whether a text beside padding, which its attention leaves out, is as a text alone. Of
        some architectures (convolutions, Fourier transforms) it is not: there texts of one length
        go through the network together, and those of another length by themselves.
    thin : whether `at` leaves out the work of other tokens, see `unnoise_text.some_rows`.
    """

    def __init__(
        self,
        model: nn.Module,
        vocab: int,
        width: int | None = None,
        frame: tuple[tuple[int, ...], tuple[int, ...]] = ((), ()),
    ) -> None:
        super().__init__()
        self.model = model
        self.frame = frame
        self.vocab = vocab
        self.padding = True
        self.reach = thinned(model)
        self.thin = True
        self.takes_mask = "attention_mask" in signature(model.forward).parameters
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
        mask = layout.mask
        if mask is None or self.padding or bool(mask.all()):
            return self._logits(x_t, label, mask)
        lengths = mask.sum(1)
        found: Tensor | None = None
        for length in lengths.unique().tolist():
            own = lengths == length
            part = self._logits(x_t[own, :length], label[own], None)
            if found is None:
                found = part.new_zeros(*x_t.shape, part.shape[-1])
            found[own, :length] = part
        assert found is not None
        return found

    def at(
        self,
        x_t: Tensor,
        label: Tensor,
        layout: Layout,
        where: Tensor,
        condition: Condition = None,
    ) -> Tensor:
        """(n, K), the rows of `forward` at `where` (B, L)."""
        apart = layout.mask is not None and not self.padding and not bool(layout.mask.all())
        if not self.thin or apart:
            return torch.as_tensor(self(x_t, label, layout, condition)[where])
        before, after = map(len, self.frame)
        with wanting(F.pad(where, (before, after)), self.reach):
            return self._whole(x_t, label, layout.mask)[:, 0]

    def probe(self, length: int) -> None:
        """See what it makes of texts of at most `length` tokens, short ones alone and beside
        padding, and of some tokens of a longer one.

        Raises ConfigError where it cannot read one.
        """
        size, whole = min(4, length - 1), min(8, length)
        longer = torch.arange(min(length, _PROBED))[None] % self.vocab
        some = torch.arange(longer.shape[1])[None] % 29 == 1
        x = longer[:, :whole]
        real = torch.arange(whole)[None] < size
        label, modes = torch.zeros(1), [(m, m.training) for m in self.modules()]
        self.eval()
        try:
            with torch.no_grad():
                alone = self._logits(x[:, :size], label, None)
                padded = self._logits(x, label, real)
                every = self._logits(longer, label, None)
        except Exception as error:  # every architecture has lengths and errors of its own
            said = (str(error).splitlines() or [""])[0][:200]
            raise ConfigError(
                "this architecture cannot read short texts",
                value=type(self.model).__name__,
                fix=f"{type(error).__name__}: {said}",
            ) from error
        else:
            if every.shape[-1] != self.vocab:
                raise ConfigError(
                    "this architecture puts out rows over another vocabulary",
                    value=every.shape[-1],
                    limit=f"{self.vocab}, the vocab_size of its configuration",
                )
            self.padding = _alike(padded[:, :size], alone)
            self.thin = self._thins(longer, label, some, every[some])
        finally:
            for module, training in modes:
                module.training = training

    @torch.no_grad()
    def _thins(self, x: Tensor, label: Tensor, where: Tensor, rows: Tensor) -> bool:
        """Whether a thinned call finds the `rows` of a whole one."""
        try:
            found = self.at(x, label, Layout.dense(1, x.shape[1:], dtype=x.dtype), where)
        except Exception:  # an architecture whose parts are put together in another way
            return False
        return _alike(found, rows)

    def _logits(self, x_t: Tensor, label: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, K), of the text without its frame."""
        before = len(self.frame[0])
        return self._whole(x_t, label, mask)[:, before : before + x_t.shape[1]]

    def _whole(self, x_t: Tensor, label: Tensor, mask: Tensor | None) -> Tensor:
        """What the model puts out of the text in its frame."""
        tokens, mask = self._framed(x_t, mask)
        inputs: dict[str, Tensor] = {"input_ids": tokens}
        if self.time is not None:
            angle = label[:, None] * self.frequencies
            told = self.time(torch.cat([angle.cos(), angle.sin()], 1))
            embed = self.model.get_input_embeddings()  # type: ignore[operator]
            inputs = {"inputs_embeds": embed(tokens) + told[:, None]}
        if mask is not None and self.takes_mask:
            inputs["attention_mask"] = mask
        logits: Tensor = self.model(**inputs).logits
        return logits

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


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether logits are the same, up to rounding."""
    return a.shape == b.shape and float((a - b).abs().max()) <= 1e-5 * float(b.abs().max())


def network_of(configuration: Configuration) -> Encoder:
    """A fresh network of a completed configuration, probed."""
    encoder = unprobed(configuration)
    # Fresh weights are small, and a convolution hardly shows: a copy with larger ones does.
    trial, generator = copy.deepcopy(encoder), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trial.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    trial.probe(configuration.length)
    known = configuration.known.padding
    encoder.padding, encoder.thin = trial.padding if known is None else known, trial.thin
    return encoder


def unprobed(configuration: Configuration) -> Encoder:
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
    if not configuration.built:
        entries = {}
    model = build(configuration.architecture, entries, configuration.settings)
    width = None if configuration.kernel == "absorbing" else configuration.width
    return Encoder(model, known.vocab, width, known.frame)


def build(architecture: str, usual: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
    """A masked language model of transformers with fresh weights.

    Parameters
    ----------
    usual : entries of its configuration that most architectures share, where `settings` have none;
        an architecture may know them by other names (its attribute_map).
    """
    without_broken_torchaudio()
    from transformers import AutoConfig, AutoModelForMaskedLM  # slow to import

    try:
        own = type(AutoConfig.for_model(architecture)).attribute_map
        spoken = {own.get(name, name): value for name, value in settings.items()}
        entries = {own.get(name, name): value for name, value in usual.items()} | spoken
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
