"""Restart sampling (Xu 2023): back into the noise, and down again.

A deterministic run keeps the errors that it makes, a stochastic one makes larger steps' errors.
`Restart` runs a sampler down to t_min, adds noise by the process itself and walks down again,

    x_{t_max} ~ q(x_{t_max} | x_{t_min}),    x_{t_min} = sampler(x_{t_max}),

`repeats` times. Noise in one large portion contracts the error of the state that it begins with;
what the sampler itself does wrong between t_max and t_min is made once more, not added up. For
Gaussian data of marginal standard deviations s(t), an error of the variance at t_min shrinks in
each repeat by

    (alpha_max s(t_min) / (alpha_min s(t_max)))^2.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

import torch

from unnoise.errors import ConfigError
from unnoise.kernels import TransitionKernel
from unnoise.samplers.base import Sampler, Step, Steps, Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import State


@final
@dataclass(frozen=True)
class Restart(Sampler):
    """A sampler, with repeated returns into the noise.

    Parameters
    ----------
    sampler : what walks down, with a new history each time.
    intervals : (t_min, t_max, repeats), 0 <= t_min < t_max <= 1, none inside of another. t_min is
        moved to the nearest time of the grid and t_max, for a kernel of discrete steps, to the
        nearest of these. A walk down takes the grid's times between them. Where a run starts below
        t_max, it goes back to its start.
    """

    sampler: Sampler
    intervals: tuple[tuple[float, float, int], ...]
    requires: ClassVar[type] = TransitionKernel
    evaluations: ClassVar[int] = 0
    one_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for low, high, repeats in self.intervals:
            if not 0 <= low < high <= 1 or repeats < 0:
                raise ConfigError(
                    "no such interval",
                    value=(low, high, repeats),
                    limit="0 <= t_min < t_max <= 1, repeats >= 0",
                )
        # it runs where its sampler runs
        object.__setattr__(self, "requires", self.sampler.requires)
        object.__setattr__(self, "corruption", self.sampler.corruption)
        object.__setattr__(self, "denoiser", self.sampler.denoiser)
        ordered = sorted(self.intervals, reverse=True)
        for (low, *_), (_, high, _) in pairwise(ordered):
            if high > low:
                raise ConfigError("intervals do not overlap", value=self.intervals)

    @property
    def order(self) -> int:
        return self.sampler.order

    @property
    def stochastic(self) -> bool:
        return self.sampler.stochastic or any(repeats for *_, repeats in self.intervals)

    def check(self, kernel: TransitionKernel) -> None:
        self.sampler.check(kernel)

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        self.sampler.check_grid(kernel, grid)

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        now = float(grid[0])
        for times in self._walks(run.kernel, grid):
            t = float(times[0])
            if t > now:
                x = _noisier(run, x, now, t)
            x = yield from _driven(self.sampler(run, x, times), x)
            now = float(times[-1])

    def _walks(self, kernel: TransitionKernel, grid: Times) -> Iterator[Times]:
        """The pieces of the way that go down; between them it goes up."""
        times, first = grid.tolist(), float(grid[0])
        begin = 0
        for low, high, repeats in sorted(self.intervals, reverse=True):
            end = min(range(len(times)), key=lambda i: abs(times[i] - low))
            if kernel.steps is not None:
                high = round(high * kernel.steps) / kernel.steps
            high = min(high, first)
            if not repeats or high <= times[end]:
                continue
            if end > begin:
                yield grid[begin : end + 1]
            begin = end
            inner = [t for t in times[:end] if t < high]
            for _ in range(repeats):
                yield torch.tensor([high, *inner, times[end]], dtype=grid.dtype)
        if begin < len(times) - 1:
            yield grid[begin:]


def _noisier(run: Diffusion, x: State, s: float, t: float) -> State:
    """A draw of q(x_t | x_s)."""
    if s == 0:
        return run.kernel.marginal(x, t, run.layout).sample(run.noise)
    return run.kernel.transition(x, s, t, run.layout).sample(run.noise)


def _driven(steps: Steps, x: State) -> Generator[Step, "State | None", State]:
    """All steps of a sampler, with what is sent to them passed on; returns the last state."""
    sent: State | None = None
    while True:
        try:
            step = steps.send(sent)
        except StopIteration:
            return x
        sent = yield step
        x = step.x if sent is None else sent
