"""DDIM (Song 2021): the non-Markovian family with the same marginals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.samplers.algebra import spans, toward
from unnoise.samplers.base import Sampler, Step, Steps, Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import State, tensor


@final
@dataclass(frozen=True)
class DDIM(Sampler):
    """x_s = alpha_s x0 + sqrt(sigma_s^2 - c^2) eps + c z, c = eta times the posterior's std.

    eta = 0 is deterministic, of order 1 on the probability-flow ODE; eta = 1 is ancestral sampling.
    """

    eta: float = 0.0
    requires: ClassVar[type] = GaussianKernel

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ConfigError("eta is out of range", value=self.eta, limit="0 to 1")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        kernel = run.kernel
        assert isinstance(kernel, GaussianKernel)
        for a, b in spans(kernel.schedule, grid):
            law = run(x, a.t)
            if self.eta == 0 and isinstance(law, Dirac):  # what the bridge is then, without a draw
                x = toward(tensor(x), tensor(law.value), a, b)
            else:
                x = kernel.bridge(x, law, a.t, b.t, run.layout, self.eta).sample(run.noise)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent
