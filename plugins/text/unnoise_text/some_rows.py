"""Logits of some tokens without the work of the others.

    logits[where] = head(layer_n(... layer_1(x)))[where]

The head of a masked language model works on each token by itself, so that what it needs of the
layers below is gathered before it. Of a ModernBERT the last layers are thinned, too: attention
mixes tokens, all else works on each by itself, and what a layer must put out is what the layers
above it look at. Above a layer whose attention reaches r tokens that is `where` and r on either
side of it; below one that sees everything it is everything. Queries are of what a layer puts out,
keys and values of what these look at.

PyTorch's hooks do it and a `forward` of attention, which are there from the start and look at a
context variable: nothing of a network that several threads share is changed by a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, final

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn
from torch.nn import functional as F

Rows: TypeAlias = "Bool[Tensor, 'batch length'] | None"
"""Tokens that are needed; None for all."""
_MOST: Final = 0.4  # share of the tokens beyond which thinning a layer does not pay


@final
@dataclass(frozen=True, eq=False)
class Wanted:
    """What one call needs: of the head, and of each layer its output and its keys and values."""

    where: Bool[Tensor, "batch length"]
    outputs: tuple[Rows, ...]
    inputs: tuple[Rows, ...]


_WANTED: ContextVar[Wanted | None] = ContextVar("wanted", default=None)


@contextmanager
def wanting(where: Bool[Tensor, "batch length"], reach: Sequence[int | None]) -> Iterator[None]:
    """Networks that were `thinned` put out the rows at `where`, as (n, 1, K).

    Parameters
    ----------
    reach : of the attention of each layer that may be thinned, the first one first: so many tokens
        on either side; None is all.
    """
    outputs: list[Rows] = []
    inputs: list[Rows] = []
    need: Rows = where
    for r in reversed(reach):
        outputs.insert(0, _few(need))
        need = None if need is None or r is None else _wider(need, r)
        inputs.insert(0, _few(need))
    token = _WANTED.set(Wanted(where, tuple(outputs), tuple(inputs)))
    try:
        yield
    finally:
        _WANTED.reset(token)


def thinned(model: Any) -> list[int | None]:
    """Put the hooks into a model of transformers; returns the reach of its layers that are thinned,
    none for an architecture of which only the head is."""
    base = model.base_model
    if base is not model:
        base.register_forward_hook(_gathered)
    kinds = getattr(model.config, "layer_types", None)
    if model.config.model_type != "modernbert" or not kinds:
        return []
    for i, layer in enumerate(base.layers):
        layer.attn.forward = partial(_attention, layer.attn, i)
        layer.mlp.register_forward_pre_hook(partial(_fewer, i))
        layer.mlp.register_forward_hook(partial(_spread, i))
    window = model.config.local_attention // 2
    return [window if kind == "sliding_attention" else None for kind in kinds]


def _wider(rows: Bool[Tensor, "batch length"], reach: int) -> Bool[Tensor, "batch length"]:
    wide = F.max_pool1d(rows[:, None].float(), 2 * reach + 1, stride=1, padding=reach)
    return torch.as_tensor(wide[:, 0] > 0)


def _few(rows: Rows) -> Rows:
    return None if rows is None or float(rows.float().mean()) > _MOST else rows


def _gathered(module: nn.Module, args: object, output: Any) -> Any:
    wanted = _WANTED.get()
    if wanted is not None:
        output.last_hidden_state = output.last_hidden_state[wanted.where][:, None]
    return output


def _attention(
    attn: Any,
    i: int,
    hidden: Tensor,
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    attention_mask: Tensor | None = None,
    **others: Any,
) -> Any:
    """What a ModernBERT's attention puts out, where it is needed: zeros elsewhere."""
    rows, keys = _needed(i)
    plain = position_embeddings is not None and not attn.training and _WANTED.get() is not None
    if not plain or (attention_mask is not None and attention_mask.ndim != 4):
        told = {"position_embeddings": position_embeddings, "attention_mask": attention_mask}
        return type(attn).forward(attn, hidden, **told, **others)
    d, b = hidden.shape[-1], attn.Wqkv.bias
    to, of = (None if found is None else _places(found) for found in (rows, keys))
    if to is None and of is None:
        q, k, v = attn.Wqkv(hidden).chunk(3, -1)
    else:
        q = F.linear(_at(hidden, to), attn.Wqkv.weight[:d], None if b is None else b[:d])
        kv = F.linear(_at(hidden, of), attn.Wqkv.weight[d:], None if b is None else b[d:])
        k, v = kv.chunk(2, -1)
    q, k, v = (x.view(len(x), x.shape[1], -1, attn.head_dim).transpose(1, 2) for x in (q, k, v))
    q, k = (_rotated(x, *(_at(e, at) for e in position_embeddings)) for x, at in ((q, to), (k, of)))
    mask = attention_mask
    if mask is not None:  # every key that a query looks at is there, others are masked
        mask = mask.expand(len(hidden), *mask.shape[1:])[:, 0]
        mask = _at(_at(mask, to).mT, of).mT[:, None]
    found = F.scaled_dot_product_attention(q, k, v, mask, scale=attn.head_dim**-0.5)
    found = attn.Wo(found.transpose(1, 2).flatten(2))
    if rows is None or to is None:
        return found, None
    whole = found.new_zeros(hidden.shape)  # half precision where that is computed in
    whole[rows] = found[torch.arange(to.shape[1], device=to.device) < rows.sum(1)[:, None]]
    return whole, None


def _places(rows: Bool[Tensor, "batch length"]) -> Int64[Tensor, "batch most"]:
    """The places of the True ones of each sample in order, and some others after them."""
    return (~rows).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(rows.sum(1).max())]


def _at(x: Tensor, places: Int64[Tensor, "batch some"] | None) -> Tensor:
    """(B, some, ...) of (B or 1, L, ...)."""
    if places is None:
        return x
    own = x.expand(len(places), *x.shape[1:])
    return own[torch.arange(len(places), device=x.device)[:, None], places]


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, (B, heads, L, d), as transformers has them."""
    one, other = x.float().chunk(2, -1)
    turned = torch.cat([-other, one], -1) * sin[:, None]
    return (x.float() * cos[:, None] + turned).to(x.dtype)


def _needed(i: int) -> tuple[Rows, Rows]:
    wanted = _WANTED.get()
    return (None, None) if wanted is None else (wanted.outputs[i], wanted.inputs[i])


def _fewer(i: int, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    rows, _ = _needed(i)
    return args if rows is None else (args[0][rows], *args[1:])


def _spread(i: int, module: nn.Module, args: object, output: Tensor) -> Tensor:
    rows, _ = _needed(i)
    if rows is None:
        return output
    whole = output.new_zeros(*rows.shape, output.shape[-1])
    whole[rows] = output
    return whole
