"""DDIM (Song 2021): the non-Markovian family with the same marginals.

    x_s = alpha_s x_0 + sqrt(sigma_s^2 - c^2) eps + c z,    eps = (x_t - alpha_t x_0) / sigma_t,
    c   = eta sigma_s sqrt(1 - r^2),                        r = alpha_t sigma_s / (alpha_s sigma_t)

is the Gaussian kernel's `bridge`. A product takes that of each part; tokens have no such family and
take Bayes' posterior at every eta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.samplers.algebra import spans, toward
from unnoise.samplers.base import Sampler, Step, Steps, Times, intervals
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import State, tensor


@final
@dataclass(frozen=True)
class DDIM(Sampler):
    """A draw of bridge(x_t, run(x_t, t), eta) for each step.

    eta = 0 is deterministic on real data, of order 1 on the probability-flow ODE; eta = 1 is
    ancestral sampling.
    """

    eta: float = 0.0
    requires: ClassVar[type] = GaussianKernel
    products: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ConfigError("eta is out of range", value=self.eta, limit="0 to 1")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        if isinstance(run.kernel, GaussianKernel):
            return self._gaussian(run.kernel, run, x, grid)
        return self._bridged(run, x, grid)

    def _gaussian(self, kernel: GaussianKernel, run: Diffusion, x: State, grid: Times) -> Steps:
        for a, b in spans(kernel.schedule, grid):
            law = run(x, a.t).explicit(run.noise)
            if self.eta == 0 and isinstance(law, Dirac):  # what the bridge is then, without a draw
                x = toward(tensor(x), tensor(law.value), a, b)
            else:
                x = kernel.bridge(x, law, a.t, b.t, run.layout, self.eta).sample(run.noise)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent

    def _bridged(self, run: Diffusion, x: State, grid: Times) -> Steps:
        for t, s in intervals(grid):
            law = run(x, t).explicit(run.noise)
            x = run.kernel.bridge(x, law, t, s, run.layout, self.eta).sample(run.noise)
            sent = yield Step(s, x, law)
            x = x if sent is None else sent
