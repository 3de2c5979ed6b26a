"""The cross entropy of latents and their diffusion, and its gradients in both.

    CE(q(z | x) || p(z)) = 1/2 int_eps^1 gamma' E|eps - eps_hat(z_t, t)|^2 dt
                           + alpha_1^2 / (2 sigma_1^2) E|z|^2 + d/2 (1 + log 2 pi + gamma(eps))

with z_t = alpha_t z + sigma_t eps, z ~ q(z | x), gamma = -log SNR; the last term is that of z given
z_eps and the one before KL(q(z_1 | z) || p(z_1)), which LSGM leaves out (Vahdat 2021). At one time
of density p(t) the integral is w |eps - eps_hat|^2 / p with w = gamma' / 2. A prior may be trained
with other weights, g^2 = sigma^2 gamma',

    ll   g^2 / (2 sigma^2)        un   1 / 2        re   g^2 / 2,

an encoder may not: its gradient is that of ll always. Both come from one evaluation of the network:
z enters it through an identity whose gradient is multiplied by w_ll / w.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.denoise import Denoiser
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import Above, GaussianKernel, LearnedSchedule, Schedule
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    VDM,
    Batch,
    LogVarianceTimes,
    SignalTimes,
    TimeLaw,
    UniformTimes,
    VarianceTimes,
)
from unnoise.objectives.sde_bound import whole_noise
from unnoise.objectives.times import d_gamma, gamma
from unnoise.objectives.weighted import raw_law
from unnoise.spaces import tensor

Weighting: TypeAlias = Literal["ll", "un", "re"]
Sampling: TypeAlias = Literal["importance", "uniform"]

_LAWS: Final[Mapping[str, type[LogVarianceTimes] | type[SignalTimes] | type[VarianceTimes]]] = (
    MappingProxyType({"ll": LogVarianceTimes, "un": SignalTimes, "re": VarianceTimes})
)


def weight(
    weighting: Weighting, schedule: Schedule, t: Float64[Tensor, " batch"]
) -> Float64[Tensor, " batch"]:
    """What |eps - eps_hat|^2 is multiplied by in the integral over time."""
    if weighting == "un":
        return torch.full_like(t, 0.5)
    half = d_gamma(schedule, t) / 2
    return half if weighting == "ll" else half * torch.as_tensor(schedule.sigma(t)) ** 2


class CrossEntropy(NamedTuple):
    """Of one draw per sample, (B,) float64 nats.

    Attributes
    ----------
    nats : CE itself, a number without gradient.
    loss : what has the gradients that are asked for. Its value means nothing.
    """

    nats: Tensor
    loss: Tensor


@final
@dataclass(frozen=True)
class Prior:
    """How a diffusion of latents is trained.

    Attributes
    ----------
    weighting : of the errors of the noise: "ll", "un" or "re".
    eps : the least time.
    sampling : times of the weighting's own importance law, or uniform ones.
    """

    weighting: Weighting = "un"
    eps: float = 1e-5
    sampling: Sampling = "importance"

    def __post_init__(self) -> None:
        if self.weighting not in _LAWS:
            raise ConfigError(
                "unknown weighting of a prior", value=self.weighting, limit=", ".join(_LAWS)
            )
        if self.sampling not in ("importance", "uniform"):
            raise ConfigError(
                "unknown sampling of times", value=self.sampling, limit="importance, uniform"
            )

    @property
    def times(self) -> TimeLaw:
        """The law of times."""
        if self.sampling == "uniform":
            return UniformTimes(self.eps)
        return _LAWS[self.weighting](self.eps)

    def cross_entropy(
        self, denoiser: Denoiser, states: Batch, noise: NoiseSource, share: float = 1.0
    ) -> CrossEntropy:
        """One estimate, from one evaluation of a network, of CE for latents z = `states.x0`.

        The gradient of the loss in the denoiser's parameters is that of the prior's own weighting,
        and in z `share` times that of CE.

        Raises
        ------
        ConfigError : a kernel that is not Gaussian with a continuous clock, or a learned schedule
            with another weighting than ll.
        """
        kernel, layout = continuous(denoiser), states.layout
        if isinstance(kernel.schedule, LearnedSchedule):
            return self._learned(denoiser, kernel.schedule, states, noise, share)
        found = self.divergence(denoiser, states, noise, share)
        start = torch.tensor([self.eps], dtype=torch.float64)
        first = float(gamma(kernel.schedule, start))
        near = 0.5 * kernel.space.dim(layout) * (1 + math.log(2 * math.pi) + first)
        return CrossEntropy(found.nats + near, found.loss)

    def divergence(
        self, denoiser: Denoiser, states: Batch, noise: NoiseSource, share: float = 1.0
    ) -> CrossEntropy:
        """The integral and the end at t = 1 alone. With a kernel `Above` a schedule, `states.x0`
        are the means of noisy latents, and this is KL(q(z_0 | x) || p(z_0))."""
        kernel, z, layout = continuous(denoiser), tensor(states.x0), states.layout
        schedule = whole_schedule(kernel)
        times = self.times
        t = times.times(schedule, noise.times()).to(layout.device)
        density = times.density(schedule, t)
        likelihood, own = weight("ll", schedule, t), weight(self.weighting, schedule, t)
        entered = scaled(z, layout.expand(share * likelihood / own, z))
        squares = noise_squares(denoiser, states, entered, t, noise)
        loss = own / density * squares
        last = float(gamma(schedule, torch.ones(1, dtype=torch.float64)))
        far = 0.5 * math.exp(-last) * layout.sum(scaled(z, share).double() ** 2)
        nats = (likelihood / density * squares + far).detach()
        return CrossEntropy(nats, loss + far)

    def _learned(
        self,
        denoiser: Denoiser,
        schedule: LearnedSchedule,
        states: Batch,
        noise: NoiseSource,
        share: float,
    ) -> CrossEntropy:
        """With end points that are trained on the bound, and an interior on its variance."""
        if self.weighting != "ll":
            raise ConfigError(
                "the end points of a learned schedule minimise the bound: other weightings have"
                " none",
                value=self.weighting,
                limit="ll",
            )
        layout, z = states.layout, scaled(tensor(states.x0), share)
        entered = Batch(z, layout, states.condition)
        diffusion = VDM().diffusion(denoiser, entered, noise)
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=layout.device)
        first, last = schedule.gamma(ends).unbind()
        far = 0.5 * torch.exp(-last) * layout.sum(z.double() ** 2)
        near = 0.5 * denoiser.kernel.space.dim(layout) * (1 + math.log(2 * math.pi) + first)
        total = diffusion + far + near
        return CrossEntropy(total.detach(), total)


def noise_squares(
    denoiser: Denoiser,
    states: Batch,
    z: Tensor,
    t: Float64[Tensor, " batch"],
    noise: NoiseSource,
) -> Float64[Tensor, " batch"]:
    """(B,) |eps - eps_hat(z_t, t)|^2 at one draw of z_t = alpha z + sigma eps; of a kernel
    `Above` a schedule, with that one's alpha and sigma."""
    kernel, layout = continuous(denoiser), states.layout
    schedule = whole_schedule(kernel)
    eps = tensor(kernel.space.project(noise.normal(layout), layout)).to(z.dtype)
    alpha = layout.expand(torch.as_tensor(schedule.alpha(t)), z)
    sigma = layout.expand(torch.as_tensor(schedule.sigma(t)), z)
    z_t = torch.addcmul(alpha * z, sigma, eps)
    law = raw_law(denoiser, z_t, t, layout, states)
    if isinstance(kernel.schedule, Above):
        found = whole_noise(kernel.schedule, law, z_t, t, layout)
    elif isinstance(law, Dirac) and law.noise is not None:
        found = tensor(law.noise)
    else:
        found = (z_t - alpha * tensor(law.mean)) / sigma
    return layout.sum((eps - found).double() ** 2)


def whole_schedule(kernel: GaussianKernel) -> Schedule:
    """Of all the noise in z_t: the kernel's, or the one that it is above."""
    return kernel.schedule.schedule if isinstance(kernel.schedule, Above) else kernel.schedule


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None


def scaled(z: Float[Tensor, "..."], factor: float | Tensor) -> Float[Tensor, "..."]:
    """z itself, whose gradient is multiplied by `factor`."""
    found: Tensor = _Scaled.apply(z, torch.as_tensor(factor, dtype=z.dtype, device=z.device))  # type: ignore[no-untyped-call]
    return found


def continuous(denoiser: Denoiser) -> GaussianKernel:
    """Its kernel. ConfigError unless that is Gaussian, with a continuous clock."""
    kernel = denoiser.kernel
    if not isinstance(kernel, GaussianKernel) or kernel.steps is not None:
        raise ConfigError(
            "a prior of latents is a Gaussian diffusion with a continuous clock",
            value=type(kernel).__name__,
            fix="GaussianKernel(Euclidean(), Geometric())",
        )
    return kernel
