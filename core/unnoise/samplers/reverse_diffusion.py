"""The reverse-diffusion discretisation of the reverse SDE, and Langevin correction (Song 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from unnoise.distributions import Gaussian
from unnoise.errors import ConfigError, IncompatibleSampler
from unnoise.kernels import GaussianKernel, ProductKernel, TransitionKernel
from unnoise.samplers.algebra import Level, schedule_of, spans
from unnoise.samplers.base import Sampler, Step, Steps, Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.products import by_parts
from unnoise.spaces import DataSpace, Layout, State, tensor

_NOISE: Final = 0.05  # standard deviation that a run may leave, of data of unit scale


@final
@dataclass(frozen=True)
class ReverseDiffusion(Sampler):
    """The forward step x_t = r x_s + g z backwards, r = alpha_t / alpha_s:

        x_s = x_t - (r - 1) x_t + g^2 score(x_t) + g z,

    with the score (alpha_t x_0 - x_t) / sigma_t^2. The last step returns the mean.
    """

    requires: ClassVar[type] = GaussianKernel
    products: ClassVar[bool] = True

    @property
    def stochastic(self) -> bool:
        return True

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        _check_last(kernel, grid)

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        if isinstance(run.kernel, ProductKernel):
            return self._by_parts(run.kernel, run, x, grid)
        return self._gaussian(run, x, grid)

    def _by_parts(self, kernel: ProductKernel, run: Diffusion, x: State, grid: Times) -> Steps:
        last = float(grid[-1])

        def step(
            kernel: GaussianKernel, x: Tensor, x0: Tensor, a: Level, b: Level, layout: Layout
        ) -> Tensor:
            back = _reverse(kernel.space, layout, x, x0, a, b)
            return tensor(back.mean if b.t == last else back.sample(run.noise))

        return by_parts(step, kernel, run, x, grid)

    def _gaussian(self, run: Diffusion, x: State, grid: Times) -> Steps:
        last = float(grid[-1])
        for a, b in spans(schedule_of(run.kernel), grid):
            law = run(x, a.t)
            back = _reverse(run.kernel.space, run.layout, tensor(x), tensor(law.mean), a, b)
            x = back.mean if b.t == last else back.sample(run.noise)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent


@final
@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Langevin steps at each time of the grid, then a step of `ReverseDiffusion`.

        x <- x + d score(x) + sqrt(2 d) z,      d = 2 a (snr |z| / |score|)^2,

    a = (alpha_t / alpha_s)^2, which is 1 for VE. The norms are those of each sample.

    Parameters
    ----------
    snr : signal-to-noise ratio of a Langevin step, below 1: the variance of white noise comes to
        1 / (1 - snr^2).
    corrections : Langevin steps before each predictor step.
    """

    snr: float = 0.16
    corrections: int = 1
    requires: ClassVar[type] = GaussianKernel

    def __post_init__(self) -> None:
        if not 0 < self.snr < 1 or self.corrections < 0:
            raise ConfigError(
                "corrector out of range",
                value=(self.snr, self.corrections),
                limit="0 < snr < 1, corrections >= 0",
            )

    @property
    def evaluations(self) -> int:
        return 1 + self.corrections

    @property
    def stochastic(self) -> bool:
        return True

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        _check_last(kernel, grid)

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        layout, last = run.layout, float(grid[-1])
        for a, b in spans(schedule_of(run.kernel), grid):
            for _ in range(self.corrections):
                law = run(x, a.t)
                score = (tensor(law.mean) * a.alpha).sub_(tensor(x)).mul_(1 / a.sigma**2)
                z = run.normal()
                ratio = _squares(z, layout) / _squares(score, layout)
                d = 2 * ((a.alpha / b.alpha) * self.snr) ** 2 * ratio
                d = torch.where(torch.isfinite(d), d, torch.zeros_like(d))  # at a score of 0
                x = torch.addcmul(tensor(x), score, tensor(layout.expand(d, score)))
                x = torch.addcmul(x, tensor(z), tensor(layout.expand((2 * d).sqrt(), x)))
            law = run(x, a.t)
            back = _reverse(run.kernel.space, run.layout, tensor(x), tensor(law.mean), a, b)
            x = back.mean if b.t == last else back.sample(run.noise)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent


def _check_last(kernel: TransitionKernel, grid: Times) -> None:
    """Raise IncompatibleSampler for a last step that leaves noise: of x_t = alpha_t x_0 + sigma_t z
    and x_0 known, the mean of the step to 0 is x_0 + (1 - alpha_t) (x_t - x_0)."""
    parts = kernel.parts.values() if isinstance(kernel, ProductKernel) else [kernel]
    for schedule in (part.schedule for part in parts if isinstance(part, GaussianKernel)):
        *_, (a, b) = spans(schedule, grid)
        left = (1 - a.alpha / b.alpha) * a.sigma
        if left > _NOISE:
            raise IncompatibleSampler(
                "the last of these steps of reverse diffusion is so long that it leaves noise",
                value=f"noise of {left:.2g}",
                limit=f"a standard deviation of {_NOISE}",
                fix="take more steps, or another sampler: ancestral, ddim",
            )


def _reverse(
    space: DataSpace, layout: Layout, x: Tensor, x0: Tensor, a: Level, b: Level
) -> Gaussian:
    """N((2 - r) x_t + g^2 score, g^2)."""
    r = a.alpha / b.alpha
    variance = max(a.sigma**2 - (r * b.sigma) ** 2, 0.0)
    pull = variance / a.sigma**2
    mean = (x * (2 - r - pull)).add_(x0, alpha=pull * a.alpha)
    return Gaussian(mean, variance**0.5, space, layout)


def _squares(v: State, layout: Layout) -> Tensor:
    return layout.sum(tensor(v).double() ** 2)
