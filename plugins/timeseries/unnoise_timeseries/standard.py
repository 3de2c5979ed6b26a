"""The exact denoiser of data that are N(0, I): what is left when a codec has said all.

    x_0 | x_t ~ N(alpha_t x_t, sigma_t^2) / (alpha_t^2 + sigma_t^2),

mean and variance both, so that one step of ancestral sampling from the prior draws x_0 exactly.
"""

from __future__ import annotations

from typing import final

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Distribution, Gaussian
from unnoise.kernels import GaussianKernel
from unnoise.spaces import Layout, State, Time, tensor


@final
class StandardNormal(Denoiser):
    """Has no weights."""

    def __init__(self, kernel: GaussianKernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.schedule = kernel.schedule

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        total = alpha**2 + sigma**2
        x = tensor(x_t)
        mean = x * layout.expand(alpha / total, x)
        return Gaussian(mean, sigma / total**0.5, self.kernel.space, layout)
