"""The variational bound as an objective, for every kernel, alone or with an auxiliary loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise import distributions
from unnoise.denoise import Denoiser, NetworkDenoiser
from unnoise.distributions import Dirac, Distribution, Gaussian
from unnoise.errors import ConfigError
from unnoise.kernels import TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.objectives.base import Objective
from unnoise.objectives.batch import Batch
from unnoise.objectives.bound import last_term
from unnoise.objectives.data_types import DataType
from unnoise.objectives.weighted import raw_law
from unnoise.spaces import Layout, State


@final
@dataclass(frozen=True)
class VariationalBound(Objective):
    """The bound without its prior term, nats per degree of freedom: T times the term of one step,

        i > 1: KL(q(x_s | x_t, x_0) || reverse(x_t, law)),   i = 1: -log p(x_0 | x_t),

    t = i / T, s = (i - 1) / T, i uniform on 1 .. T, both ends included.

    Parameters
    ----------
    steps : T of a kernel with a continuous clock; a discrete one has its own.
    data : what x_0 is, for Gaussian kernels: with `Quantised` the last term is the probability of
        levels, as in `bound`, without it a density.
    """

    steps: int = 1000
    data: DataType | None = None

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        kernel, layout = denoiser.kernel, batch.layout
        steps = kernel.steps or self.steps
        number = step_numbers(noise, steps).to(layout.device)
        t = number / steps
        x_t = kernel.noisy(batch.x0, t, layout, noise)
        law = raw_law(denoiser, x_t, t, layout, batch)
        return per_dimension(kernel, law, batch.x0, x_t, number, steps, layout, self.data)


@final
@dataclass(frozen=True)
class Hybrid(Objective):
    """L_vb + weight * the parametrization's own loss, for categories the cross-entropy of x_0
    (Austin 2021: .001 for images, .01 for masked text). Both per entry, at the same x_t."""

    weight: float = 0.001
    steps: int = 1000
    data: DataType | None = None

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        own, bound = _both(denoiser, batch, noise, self, lambda law: law)
        return bound + self.weight * own


@final
@dataclass(frozen=True)
class SimpleWithBound(Objective):
    """L_simple + weight * L_vlb, the gradient of L_vlb stopped at the means (Nichol & Dhariwal
    2021): for a `LearnedVariance`, whose variance the bound trains and whose mean the error."""

    weight: float = 0.001
    steps: int = 1000
    data: DataType | None = None

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        own, bound = _both(denoiser, batch, noise, self, _without_gradient_of_means)
        return own + self.weight * bound


def _both(
    denoiser: Denoiser,
    batch: Batch,
    noise: NoiseSource,
    chain: Hybrid | SimpleWithBound,
    bounded: Callable[[Distribution], Distribution],
) -> tuple[Tensor, Tensor]:
    """The parametrization's loss, and the bound per dimension of `bounded(law)`, from one call of
    the network."""
    if not isinstance(denoiser, NetworkDenoiser):
        raise ConfigError("only a NetworkDenoiser is trained", value=type(denoiser).__name__)
    kernel, parametrization, layout = denoiser.kernel, denoiser.parametrization, batch.layout
    steps = kernel.steps or chain.steps
    number = step_numbers(noise, steps).to(layout.device)
    t = number / steps
    x_t = kernel.noisy(batch.x0, t, layout, noise)
    output = denoiser.output(x_t, t, layout, batch.condition)
    law = bounded(parametrization.law(kernel, output, x_t, t, layout))
    bound = per_dimension(kernel, law, batch.x0, x_t, number, steps, layout, chain.data)
    return parametrization.loss(kernel, output, batch.x0, x_t, t, layout), bound


def step_numbers(noise: NoiseSource, steps: int) -> Tensor:
    """(B,) float64: i = 1 .. steps, each equally often over many consecutive sample numbers."""
    return torch.ceil((1 - noise.times()) * steps).clamp(1, steps)


def per_dimension(
    kernel: TransitionKernel,
    law: Distribution,
    x0: State,
    x_t: State,
    number: Tensor,
    steps: int,
    layout: Layout,
    data: DataType | None = None,
) -> Tensor:
    """(B,) T times the bound's term of step `number` of T = `steps`, over the dimension."""
    first = number == 1
    dim = kernel.space.dim(layout)
    # Each sample needs one of the two terms. The other is computed at times at which it is finite,
    # so that leaving it out leaves no NaN in the gradient.
    end = last_term(kernel, law, x0, x_t, steps, layout, data)
    if steps == 1:
        return end / dim
    i = number.clamp(min=2)
    t, s = i / steps, (i - 1) / steps
    q = kernel.reverse(x_t, Dirac(x0, layout), t, s, layout)
    divergence = q.kl(kernel.reverse(x_t, law, t, s, layout))
    return steps * torch.where(first, end.to(divergence), divergence) / dim


def _without_gradient_of_means(law: Distribution) -> Distribution:
    if isinstance(law, Gaussian):
        return Gaussian(law.mean.detach(), law.std, law.space, law.layout)
    if isinstance(law, distributions.Product):
        return distributions.Product(
            {name: _without_gradient_of_means(part) for name, part in law.parts.items()}
        )
    raise ConfigError(
        "this objective trains a variance, and the law of x_0 has none",
        value=type(law).__name__,
        fix="use the LearnedVariance parametrization, or Hybrid()",
    )


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ConfigError("a chain has at least one step", value=steps, limit=">= 1")
