"""Ancestral sampling: the kernel's own reverse, step by step. Works with every kernel."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.kernels import TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.samplers.base import Sampler, Step, intervals
from unnoise.spaces import Layout, State


@final
@dataclass(frozen=True)
class Ancestral(Sampler):
    """x_s ~ reverse(x_t, denoiser(x_t)): DDPM, Analytic-DPM, D3PM, by what the denoiser returns."""

    requires: ClassVar[type] = TransitionKernel

    @property
    def stochastic(self) -> bool:
        return True

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
        for t, s in intervals(grid):
            x0 = denoiser(x, t, layout, condition)
            x = denoiser.kernel.reverse(x, x0, t, s, layout).sample(noise)
            sent = yield Step(s, x, x0)
            x = x if sent is None else sent
