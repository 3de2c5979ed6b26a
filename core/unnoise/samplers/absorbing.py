"""Samplers of the absorbing kernel that ask the network only when a token appears.

A hidden token stays hidden from t to s with probability m_s / m_t, m = 1 - alpha, whatever the
network says. So when and where tokens appear is drawn first, and the network is asked for the
samples in which one does: at most once per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from unnoise.distributions import Dirac
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.samplers.base import Sampler, Step, Steps, Times, intervals
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.reveal import absorbing, counts, masked, per_row, shown
from unnoise.spaces import Layout, State, tensor

_TINY = 1e-300


@final
@dataclass(frozen=True)
class Cached(Sampler):
    """`Ancestral` on the same grid, with the same law, for a network that sees the time or not.

    The network is evaluated in the steps in which a token of the sample appears, and for those
    samples only. The cache of Sahoo 2024 (MDLM) evaluates after every change, and only helps a
    network that does not see the time; this rule needs no more evaluations than that one.
    """

    requires: ClassVar[type] = CategoricalKernel
    corruption: ClassVar[type] = Absorbing
    evaluations: ClassVar[int] = 0

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        corruption, layout = absorbing(run.kernel), run.layout
        x = tensor(x)
        for t, s in intervals(grid):
            stay = corruption.hidden(s) / max(corruption.hidden(t), _TINY)
            appear = masked(run, x) & (run.noise.uniform(layout) >= stay)
            x = shown(run, x, t, appear)
            sent = yield Step(s, x, Dirac(x, layout))
            x = x if sent is None else tensor(sent)


@final
@dataclass(frozen=True)
class FirstHitting(Sampler):
    """The process in continuous time: its tokens appear one by one (Zheng 2024, Algorithm 1).

    The time at which a token appears is drawn exactly: m_i = m_t u_i. A grid with at least as many
    steps as there are hidden tokens gives each an evaluation of its own, at its own time, and the
    samples have the law of infinitely many ancestral steps. With S steps for n tokens, groups of
    about n / S that follow each other in time share an evaluation, at the time of their first.
    Steps in which nothing appears cost nothing.

    The grid sets the number of groups, and its ends those of the process; times in between are
    labels.
    """

    requires: ClassVar[type] = CategoricalKernel
    corruption: ClassVar[type] = Absorbing
    evaluations: ClassVar[int] = 0

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        corruption, layout = absorbing(run.kernel), run.layout
        x = tensor(x)
        pairs = list(intervals(grid))
        first, last = corruption.hidden(pairs[0][0]), corruption.hidden(pairs[-1][1])
        now = torch.full((layout.batch,), first, dtype=torch.float64, device=layout.device)
        clock = first * run.noise.uniform(layout)
        for left, (_, s) in zip(range(len(pairs), 0, -1), pairs, strict=True):
            # tokens that were hidden anew, from outside, appear later than now
            level = per_row(now, clock, layout)
            clock = torch.where(clock < level, clock, level * run.noise.uniform(layout))
            due = masked(run, x) & (clock >= last)
            number = counts(due, layout)
            group = torch.ceil(number / left)
            place = layout.ranks(torch.where(due, -clock, torch.inf))
            appear = due & (place < per_row(group, clock, layout))
            changed = number > 0
            top = _largest(torch.where(appear, clock, 0.0), layout)
            t = corruption.time_hidden(torch.where(changed, top, 1.0))
            x = shown(run, x, t, appear)
            bottom = -_largest(torch.where(appear, -clock, -1.0), layout)
            now = torch.where(changed, bottom, now)
            sent = yield Step(s, x, Dirac(x, layout))
            x = x if sent is None else tensor(sent)


def _largest(v: Tensor, layout: Layout) -> Tensor:
    """(B,) the largest entry of each sample."""
    rows = v.reshape(v.shape[0], -1).amax(1)
    if layout.index is None:
        return rows
    return rows.new_zeros(layout.batch).scatter_reduce(
        0, layout.index, rows, "amax", include_self=False
    )
