"""Euler's method on the probability-flow ODE in t (Song 2021)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import euler, schedule_of, toward
from unnoise.samplers.base import Sampler, Step, intervals
from unnoise.spaces import Layout, State, tensor


@final
@dataclass(frozen=True)
class Euler(Sampler):
    """x_s = x_t + (s - t) (alpha' x_0 + sigma' eps); the step to sigma = 0 returns the prediction.

    On the straight path of flow matching it is DDIM; elsewhere DDIM is the better first order.
    """

    requires: ClassVar[type] = GaussianKernel

    @property
    def stochastic(self) -> bool:
        return False

    def __call__(
        self,
        denoiser: Denoiser,
        x: State,
        grid: Tensor,
        layout: Layout,
        noise: NoiseSource,
        condition: Condition = None,
    ) -> Generator[Step, State | None, None]:
        self.check(denoiser.kernel)
        schedule = schedule_of(denoiser)
        for t, s in intervals(grid):
            law = denoiser(x, t, layout, condition)
            step = euler if s > 0 else toward
            x = step(schedule, tensor(x), tensor(law.mean), t, s)
            sent = yield Step(s, x, law)
            x = x if sent is None else sent
