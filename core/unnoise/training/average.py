"""The exponential moving average of the weights, which is what a run delivers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
V = TypeVar("V")


class Average(Generic[M]):
    """A copy of a module whose parameters follow w <- d w + (1 - d) p.

    At update n (1 is the first) the decay d is min(ema, (1 + n) / (10 + n)): the usual ramp-up, so
    that a short run is not an average with its random start. ema = 0 copies the weights. Buffers
    are copied.
    """

    def __init__(self, module: M, ema: float) -> None:
        self.ema = ema
        self.module: M = copy.deepcopy(module).eval().requires_grad_(False)
        self._targets: list[Tensor] = list(self.module.parameters())
        self._sources: list[Tensor] = list(module.parameters())
        self._buffers = list(zip(self.module.buffers(), module.buffers(), strict=True))

    @torch.no_grad()
    def update(self, number: int) -> None:
        """Follow the weights after step `number` (1 is the first)."""
        decay = min(self.ema, (1 + number) / (10 + number))
        if self._targets:
            torch._foreach_lerp_(self._targets, self._sources, 1 - decay)
        for mine, theirs in self._buffers:
            mine.copy_(theirs)


def rebound(value: V, modules: Mapping[str, nn.Module], averaged: nn.ModuleDict) -> V:
    """`value`, an objective, with `averaged` in the places of its own `modules`."""
    replaced: dict[int, object] = {}
    for name, own in modules.items():
        other = averaged[name]
        for mine, theirs in (
            (own.modules(), other.modules()),
            (own.parameters(), other.parameters()),
            (own.buffers(), other.buffers()),
        ):
            replaced |= {id(a): b for a, b in zip(mine, theirs, strict=True)}
    return copy.deepcopy(value, replaced) if replaced else value
