"""Euler's method on the probability-flow ODE in t (Song 2021)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import euler, schedule_of, spans, toward
from unnoise.samplers.base import Sampler, Step
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
        grid: Float64[Tensor, " times"],
        layout: Layout,
        noise: NoiseSource,
        condition: Condition = None,
    ) -> Generator[Step, State | None, None]:
        self.check(denoiser.kernel)
        schedule = schedule_of(denoiser)
        for a, b in spans(schedule, grid):
            x = tensor(x)
            law = denoiser(x, a.t, layout, condition)
            x0 = tensor(law.mean)
            x = euler(schedule, x, x0, a, b.t - a.t) if b.t > 0 else toward(x, x0, a, b)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent
