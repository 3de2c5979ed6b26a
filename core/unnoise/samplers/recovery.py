"""Diffusion recovery likelihood (Gao 2021): each level of an energy-based model given the next.

With x_t = r x_s + c eps, r = alpha_t / alpha_s and c^2 = sigma_t^2 - r^2 sigma_s^2, the law of
y = r x_s given x_t is

    log p(y | x_t) = F_s(y / r) - |x_t - y|^2 / (2 c^2) + a constant,

which has one mode where c is small, whatever F_s is. It is drawn from by Langevin's steps, from
y = x_t on,

    y <- y + (b^2 / 2) grad log p(y | x_t) + b z,    b^2 = step^2 / (1 / c^2 + 1 / (r b_s)^2),

b_s being the width of the energy's finest structure at s: no step is longer than what it is to see.
Where -log p is k |y - m|^2 / 2 their stationary law has the mean m and the variance
1 / (k (1 - b^2 k / 4)): a little more than 1 / k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from unnoise.denoise import Energy
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.samplers.base import Sampler, Step, Steps, Times, intervals
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import State, Time, tensor


@final
@dataclass(frozen=True)
class Recovery(Sampler):
    """x_s given x_t by Langevin's steps, one level of the grid after the other; of an `Energy`.

    The grid is that of the levels it was trained on.

    Parameters
    ----------
    langevin : steps for each level.
    step : their size, as a part of the width of the narrowest law that x_s may have given x_t.
    """

    langevin: int = 30
    step: float = 0.3
    requires: ClassVar[type] = GaussianKernel
    denoiser: ClassVar[type] = Energy

    def __post_init__(self) -> None:
        if self.langevin < 1 or not 0 < self.step < 2:
            raise ConfigError(
                "Langevin's steps are out of range",
                value=(self.langevin, self.step),
                limit="at least one, of a size between 0 and 2",
            )

    @property
    def evaluations(self) -> int:
        return self.langevin + 1

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check_denoiser(run.denoiser)
        for t, s in intervals(grid):
            law = run(x, t)  # what is seen of the run
            x = self.level(run, tensor(x), t, s)
            sent = yield Step(s, x, law)
            x = x if sent is None else sent

    def level(self, run: Diffusion, x_t: Tensor, t: Time, s: Time) -> Float[Tensor, "rows ..."]:
        """x_s given `x_t`, s < t; times shared by the batch or (B,).

        Raises
        ------
        IncompatibleSampler : the denoiser is no `Energy`.
        """
        self.check_denoiser(run.denoiser)
        energy, layout = run.denoiser, run.layout
        assert isinstance(energy, Energy)
        schedule = energy.kernel.schedule
        ratio = schedule.alpha(t) / schedule.alpha(s)
        variance = schedule.sigma(t) ** 2 - (ratio * schedule.sigma(s)) ** 2
        square = self.step**2 / (1 / variance + 1 / (ratio**2 * energy.sharpness(s)))
        r, c2, b2 = (layout.expand(v, x_t) for v in (ratio, variance, square))
        y = x_t
        for _ in range(self.langevin):
            pull = run.score(y / r, s) / r + (x_t - y) / c2
            noise = tensor(run.normal()).to(y.dtype)
            y = y + 0.5 * b2 * pull + b2**0.5 * noise
        return y / r
