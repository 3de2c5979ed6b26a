"""Logits of some tokens without the work of the others.

    logits[where] = head(layer_n(... layer_1(x)))[where]

The head of a masked language model works on each token by itself, so that what it needs of the
layers below is gathered before it. Of a ModernBERT the last layers are thinned, too: attention
mixes tokens, all else works on each by itself, and what a layer must put out is what the layers
above it look at. Above a layer whose attention reaches r tokens that is `where` and r on either
side of it; below one that sees everything it is everything.

PyTorch's hooks do it, which are there from the start and look at a context variable: nothing of a
network that several threads share is changed by a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, final

import torch
from jaxtyping import Bool
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
        for name, part in (("inputs", layer.attn.Wqkv), ("outputs", layer.attn.Wo),
                           ("outputs", layer.mlp)):  # fmt: skip
            part.register_forward_pre_hook(partial(_fewer, name, i))
            part.register_forward_hook(partial(_spread, name, i))
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


def _rows(name: str, i: int) -> Rows:
    wanted = _WANTED.get()
    return None if wanted is None else (wanted.inputs if name == "inputs" else wanted.outputs)[i]


def _fewer(name: str, i: int, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    rows = _rows(name, i)
    return args if rows is None else (args[0][rows], *args[1:])


def _spread(name: str, i: int, module: nn.Module, args: object, output: Tensor) -> Tensor:
    rows = _rows(name, i)
    if rows is None:
        return output
    whole = output.new_zeros(*rows.shape, output.shape[-1])
    whole[rows] = output
    return whole
