"""DiffPIR's walk (Zhu 2023): DDIM's family with noise that does not depend on the step's length.

    x_s = alpha_s x_0 + sigma_s (sqrt(1 - zeta) eps + sqrt(zeta) z)
    eps = (x_t - alpha_t x_0) / sigma_t

Given x_0 that keeps the marginals. With a prediction in its place a share zeta of the noise is new
in every step, however short: it forgets what is wrong of the state, for which it is made
(`diffpir`), and does not converge to the model's law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.samplers import Diffusion, Sampler, Step, Steps, Times, intervals
from unnoise.spaces import State, tensor


@final
@dataclass(frozen=True)
class Renoised(Sampler):
    """One evaluation per step, and a share of new noise in each.

    Attributes
    ----------
    zeta : the share of the variance that is new, 0 (DDIM) to 1.
    """

    requires: ClassVar[type] = GaussianKernel

    zeta: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.zeta <= 1:
            raise ConfigError("zeta is a share", value=self.zeta, limit="0 to 1")

    @property
    def stochastic(self) -> bool:
        return self.zeta > 0

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        assert isinstance(run.kernel, GaussianKernel)
        schedule = run.kernel.schedule
        for t, s in intervals(grid):
            law = run(x, t).explicit(run.noise)
            x0, x_t = tensor(law.mean), tensor(x)
            eps = (x_t - schedule.alpha(t) * x0) / schedule.sigma(t)
            new = tensor(run.normal())
            eps = math.sqrt(1 - self.zeta) * eps + math.sqrt(self.zeta) * new
            x = schedule.alpha(s) * x0 + schedule.sigma(s) * eps
            sent = yield Step(s, x, law)
            x = x if sent is None else sent
