"""Variational diffusion models (Kingma 2021): network, end points and interior of the schedule
trained together on the bound.

With gamma = -log SNR the diffusion loss is

    1/2 int_0^1 gamma'(t) E|eps - eps_hat|^2 dt       or, in T steps,
    T/2 E_i expm1(gamma_t - gamma_s) E|eps - eps_hat|^2,   t = i / T, s = t - 1 / T.

The first does not depend on the interior of the schedule: there the gradient of the squared
estimate L^2 is followed, which minimises its variance; everywhere else that of the bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.denoise import Denoiser, NetworkDenoiser
from unnoise.distributions import Gaussian
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, LearnedSchedule, Schedule
from unnoise.noise import NoiseSource
from unnoise.objectives.base import Objective
from unnoise.objectives.batch import Batch
from unnoise.objectives.data_types import Continuous, DataType
from unnoise.spaces import Time, tensor


@final
@dataclass(frozen=True)
class VDM(Objective):
    """prior + diffusion + reconstruction, nats per degree of freedom, for a `LearnedSchedule`.

    The reconstruction is p(x_0 | x_t) = N(x_t / alpha, (sigma / alpha)^2) at the first end point,
    which needs no network.

    Parameters
    ----------
    data : what x_0 is; `Quantised` for 8-bit values. A density of continuous data has an optimal
        first end point only where the data have noise of their own.
    steps : T, or None for the continuous loss.
    """

    data: DataType = field(default_factory=Continuous)
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ConfigError("a chain has at least one step", value=self.steps, limit=">= 1")

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        kernel, schedule = _learned(denoiser)
        layout, x0 = batch.layout, tensor(batch.x0)
        diffusion = self.diffusion(denoiser, batch, noise)
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=layout.device)
        first, last = schedule.gamma(ends).unbind()
        prior = 0.5 * torch.exp(-last) * layout.sum(x0.double() ** 2)
        std = torch.exp(0.5 * first)
        z = tensor(kernel.space.project(noise.normal(layout), layout))
        decoder = Gaussian(x0 + std.to(x0.dtype) * z, std, kernel.space, layout)
        reconstruction = -self.data.log_prob(decoder, x0, layout)
        return (prior + diffusion + reconstruction) / kernel.space.dim(layout)

    def diffusion(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        """One draw of the diffusion loss of each sample, nats."""
        kernel, schedule = _learned(denoiser)
        layout, x0 = batch.layout, tensor(batch.x0)
        u = noise.times().to(layout.device)
        if self.steps is None:
            t = 1 - u
            here = schedule.position(t)
            positions = [here.r, here.slope]
            gamma = schedule.gamma(here.r)
            rate = schedule.span.abs() * here.slope
        else:
            t = torch.ceil((1 - u) * self.steps).clamp(1, self.steps) / self.steps
            here, before = schedule.position(t), schedule.position(t - 1 / self.steps)
            positions = [here.r, before.r]
            gamma = schedule.gamma(here.r)
            rate = self.steps * torch.expm1(gamma - schedule.gamma(before.r))
        frozen = GaussianKernel(kernel.space, _At(gamma))
        x_t = tensor(frozen.marginal(x0, t, layout).sample(noise))
        if isinstance(denoiser, NetworkDenoiser):
            output = denoiser.output(x_t, t, layout, batch.condition, frozen)
            law = denoiser.parametrization.law(frozen, output, x_t, t, layout)
        else:
            law = denoiser(x_t, t, layout, batch.condition)
        squares = layout.sum((x0 - tensor(law.mean)).double() ** 2)
        loss = 0.5 * rate * torch.exp(-gamma) * squares
        scale = 2 * (loss / kernel.space.dim(layout)).detach()
        for position in positions:
            if position.requires_grad:
                position.register_hook(lambda gradient: scale * gradient)  # type: ignore[no-untyped-call]
        return loss


@final
@dataclass(frozen=True, eq=False)
class _At(Schedule):
    """The values of a variance-preserving schedule at one time per sample, whatever time is asked
    for: so that all of a loss depends on the schedule through the same numbers."""

    gamma: Tensor

    @property
    def steps(self) -> int | None:
        return None

    def alpha(self, t: Time) -> Time:
        return torch.sigmoid(-self.gamma).sqrt()

    def sigma(self, t: Time) -> Time:
        return torch.sigmoid(self.gamma).sqrt()

    def d_alpha(self, t: Time) -> Time:
        raise ConfigError(
            "this parametrization needs derivatives of the schedule", fix="use Noise, V or Clean"
        )

    d_sigma = d_alpha


def _learned(denoiser: Denoiser) -> tuple[GaussianKernel, LearnedSchedule]:
    kernel = denoiser.kernel
    if not isinstance(kernel, GaussianKernel) or not isinstance(kernel.schedule, LearnedSchedule):
        found = kernel.schedule if isinstance(kernel, GaussianKernel) else kernel
        raise ConfigError(
            "VDM trains a LearnedSchedule",
            value=type(found).__name__,
            fix="GaussianKernel(space, LearnedSchedule(...)), or another objective",
        )
    return kernel, kernel.schedule
