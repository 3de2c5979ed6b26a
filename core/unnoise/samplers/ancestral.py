"""Ancestral sampling: the kernel's own reverse, step by step. Works with every kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from unnoise.kernels import TransitionKernel
from unnoise.samplers.base import Sampler, Step, Steps, Times, intervals
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import State


@final
@dataclass(frozen=True)
class Ancestral(Sampler):
    """x_s ~ reverse(x_t, run(x_t, t)): DDPM, Analytic-DPM, D3PM, the denoising diffusion GAN, by
    what the denoiser returns."""

    requires: ClassVar[type] = TransitionKernel

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        for t, s in intervals(grid):
            x0 = run(x, t).explicit(run.noise)
            x = run.kernel.reverse(x, x0, t, s, run.layout).sample(run.noise)
            sent = yield Step(s, x, x0)
            x = x if sent is None else sent
