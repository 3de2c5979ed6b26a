"""DDIM (Song 2021): the non-Markovian family with the same marginals."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import spans, toward
from unnoise.samplers.base import Sampler, Step
from unnoise.spaces import Layout, State, tensor


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
        kernel = denoiser.kernel
        assert isinstance(kernel, GaussianKernel)
        for a, b in spans(kernel.schedule, grid):
            law = denoiser(x, a.t, layout, condition)
            if self.eta == 0 and isinstance(law, Dirac):  # what the bridge is then, without a draw
                x = toward(tensor(x), tensor(law.value), a, b)
            else:
                x = kernel.bridge(x, law, a.t, b.t, layout, self.eta).sample(noise)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent
