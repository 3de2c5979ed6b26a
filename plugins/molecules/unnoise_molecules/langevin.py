"""GeoDiff's process and its annealed Langevin dynamics (Xu 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, final

import torch

from unnoise.errors import ConfigError, IncompatibleSampler
from unnoise.kernels import BetaTable, GaussianKernel, TransitionKernel
from unnoise.samplers import Diffusion, Sampler, Step, Steps, Times, intervals
from unnoise.spaces import State, tensor

if TYPE_CHECKING:
    from unnoise.testing import Example

STEPS: Final = 5000
UNIT: Final = 0.01
MOST: Final = 0.25
"""Of h / rho^2: a step of this size keeps 2 h / (1 - (1 - h)^2) = 1.14 times the variance of the
noise that the network was trained to see; one of size 1 keeps twice that, and the run goes astray.
"""


def geodiff(steps: int = STEPS) -> BetaTable:
    """beta_i = (2e-3 - 1e-7) sigmoid(u_i) + 1e-7, u_i from -6 to 6 in equal steps."""
    u = torch.linspace(-6, 6, steps, dtype=torch.float64)
    return BetaTable(tuple((torch.sigmoid(u) * (2e-3 - 1e-7) + 1e-7).tolist()))


@final
@dataclass(frozen=True)
class Langevin(Sampler):
    """One step at each noise level of the grid. With rho = sigma / alpha, x = x_t / alpha, x_0 the
    prediction and h = step (rho / .01)^2,

        x <- x + h (x_0 - x) / rho^2 + sqrt(2 h) z,

    as (x_0 - x) / rho^2 is the score of x. The last step, to t = 0, returns x_0.

    Parameters
    ----------
    step : 1e-6 is GeoDiff's, for its 5000 steps. None: 1e-6 x 5000 / steps, so that the drift of a
        run does not depend on the number of steps; h / rho^2 is at most 1, and a request for fewer
        than 200 steps is refused.
    """

    step: float | None = None
    requires: ClassVar[type] = GaussianKernel

    def __post_init__(self) -> None:
        if self.step is not None and not self.step > 0:
            raise ConfigError(
                "the step is out of range", value=self.step, limit="> 0", fix="leave it out"
            )

    @property
    def stochastic(self) -> bool:
        return True

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        least = math.ceil(1e-6 * STEPS / (MOST * UNIT**2))
        if self.step is None and len(grid) - 1 < least:
            raise IncompatibleSampler(
                "this number of steps is too small for Langevin dynamics",
                value=len(grid) - 1,
                limit=f"at least {least} steps",
                fix="take the sampler ddim for a run of few steps",
            )

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        kernel = run.kernel
        assert isinstance(kernel, GaussianKernel)
        schedule = kernel.schedule
        spans = list(intervals(grid))
        step = 1e-6 * STEPS / len(spans) if self.step is None else self.step
        share = min(step / UNIT**2, 1.0)
        for t, s in spans:
            law = run(x, t)
            x, x0 = tensor(x), tensor(law.mean)
            if s == 0:
                x = x0
            else:
                alpha, sigma = schedule.alpha(t), schedule.sigma(t)
                z = tensor(run.normal())
                here = x / alpha
                here = here + share * (x0 - here) + math.sqrt(2 * share) * (sigma / alpha) * z
                x = here * schedule.alpha(s)
            sent = yield Step(s, x, law)
            x = x if sent is None else sent


def examples() -> list[Example]:
    """For the conformance kit."""
    from unnoise.testing import Example

    bias = {
        "recovers_the_data": "one Langevin step of a fixed size at each level is not an exact "
        "sampler: 5000 steps of GeoDiff's schedule leave 1.17 times the variance of Gaussian data"
    }
    return [Example(Langevin(), expected_failed_checks=bias)]
