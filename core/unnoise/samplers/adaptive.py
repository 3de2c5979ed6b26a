"""The probability-flow ODE with step sizes of each sample's own (Dormand & Prince 1980)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.kernels.gaussian import combine
from unnoise.samplers.algebra import FIRST, level, schedule_of, toward
from unnoise.samplers.base import Sampler, Step, Steps, Times, intervals
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import State, tensor
from unnoise.spaces.ode import Point, integrate


@final
@dataclass(frozen=True)
class AdaptiveODE(Sampler):
    """dx/dt = alpha' x_0 + sigma' eps by the pair of Dormand and Prince of orders 5 and 4.

    The grid only says where states are yielded. Each sample has its own step size, from its own
    error estimate, so that neighbours in the batch do not matter; a batch takes as many evaluations
    as its slowest sample. Before sigma = 0 the solution stops at time `end` and the prediction
    there is returned.

    Parameters
    ----------
    rtol, atol : of the error of a step, root mean square over a sample's entries.
    end : the time of the last prediction when the grid goes on to 0.
    most : evaluations after which LimitExceeded is raised.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    end: float = 1e-3
    most: int = 10_000
    requires: ClassVar[type] = GaussianKernel
    evaluations: ClassVar[int] = 0
    order: ClassVar[int] = 5

    def __post_init__(self) -> None:
        if not (self.rtol >= 0 and self.atol > 0 and FIRST <= self.end < 1):
            raise ConfigError(
                "tolerances out of range",
                value=(self.rtol, self.atol, self.end),
                limit=f"rtol >= 0, atol > 0, end {FIRST:g} to 1",
            )
        if self.most < 1:
            raise ConfigError("most is a number of evaluations", value=self.most, limit=">= 1")

    @property
    def stochastic(self) -> bool:
        return False

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        schedule, layout = schedule_of(run.kernel), run.layout

        def field(state: Tensor, t: Tensor) -> Point:
            law = run(state.to(layout.dtype), t)
            growth = schedule.d_sigma(t) / schedule.sigma(t)
            pull = schedule.d_alpha(t) - growth * schedule.alpha(t)
            slope = combine(layout, growth, state, pull, tensor(law.mean).double())
            return Point(slope, torch.zeros_like(t))

        left = self.most
        # small at first; later intervals begin with the step sizes of the one before
        step = torch.full((layout.batch,), 1e-3, dtype=torch.float64, device=layout.device)
        for t, s in intervals(grid):
            stop = s if s > 0 else min(self.end, t)
            if stop < t:
                end, used, step = integrate(
                    field,
                    tensor(x),
                    t,
                    stop,
                    layout,
                    rtol=self.rtol,
                    atol=self.atol,
                    step=step,
                    limit=left,
                )
                x, left = end.x.to(layout.dtype), left - used
            law = run(x, stop)
            if s == 0:
                x = toward(tensor(x), tensor(law.mean), level(schedule, stop), level(schedule, s))
            sent = yield Step(s, x, law)
            x = x if sent is None else sent
