"""Training a codec q(z | x), p(x | z) and the diffusion of its latents (Vahdat 2021, LSGM).

    -log p(x) <= E_q [-log p(x | z) + log q(z | x)] + CE(q(z | x) || p(z))

and with z_t = alpha_t z + sigma_t eps, z ~ q(z | x), gamma = -log SNR,

    CE = 1/2 int_eps^1 gamma' E|eps - eps_hat(z_t, t)|^2 dt
         + alpha_1^2 / (2 sigma_1^2) E|z|^2 + d/2 (1 + log 2 pi + gamma(eps)),

the last term log p(z | z_eps) and the one before KL(q(z_1 | z) || p(z_1)), which LSGM leaves out.
At one random time of density p(t) the integral is w |eps - eps_hat|^2 / p with w = gamma' / 2,
g^2 = sigma^2 gamma'. A prior may be trained with other weights,

    ll   g^2 / (2 sigma^2)        un   1 / 2        re   g^2 / 2,

the encoder may not: its gradient is that of ll always. Both come from one evaluation of the
network: z enters it through an identity whose gradient is multiplied by w_ll / w.

| method | what learns | CE |
|---|---|---|
| `VAE` | codec | of N(0, I): 1/2 E|z|^2 + d/2 log 2 pi |
| `Frozen` | prior | by its own weighting |
| `LSGM` | both | as above |
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.codecs import Encoded
from unnoise.denoise import Denoiser
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import GaussianKernel, LearnedSchedule, Schedule
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    VDM,
    Batch,
    Elapsed,
    LogVarianceTimes,
    Networks,
    Objective,
    OnStates,
    SignalTimes,
    TimeLaw,
    Turn,
    UniformTimes,
    VarianceTimes,
)
from unnoise.objectives.times import d_gamma, gamma
from unnoise.objectives.weighted import raw_law
from unnoise.spaces import tensor
from unnoise_latent.spectral import Spectral

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
        kernel, z = _continuous(denoiser), tensor(states.x0)
        if isinstance(kernel.schedule, LearnedSchedule):
            return self._learned(denoiser, kernel.schedule, states, noise, share)
        layout, schedule = states.layout, kernel.schedule
        times = self.times
        t = times.times(schedule, noise.times()).to(layout.device)
        density = times.density(schedule, t)
        likelihood, own = weight("ll", schedule, t), weight(self.weighting, schedule, t)
        entered = scaled(z, layout.expand(share * likelihood / own, z))
        squares = noise_squares(denoiser, states, entered, t, noise)
        loss = own / density * squares
        ends = torch.tensor([self.eps, 1.0], dtype=torch.float64)
        first, last = gamma(schedule, ends).tolist()
        far = 0.5 * math.exp(-last) * layout.sum(scaled(z, share).double() ** 2)
        near = 0.5 * kernel.space.dim(layout) * (1 + math.log(2 * math.pi) + first)
        nats = (likelihood / density * squares + far + near).detach()
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
    """(B,) |eps - eps_hat(z_t, t)|^2 at one draw of z_t = alpha z + sigma eps."""
    kernel, layout = _continuous(denoiser), states.layout
    eps = tensor(kernel.space.project(noise.normal(layout), layout)).to(z.dtype)
    alpha = layout.expand(torch.as_tensor(kernel.schedule.alpha(t)), z)
    sigma = layout.expand(torch.as_tensor(kernel.schedule.sigma(t)), z)
    z_t = torch.addcmul(alpha * z, sigma, eps)
    law = raw_law(denoiser, z_t, t, layout, states)
    if isinstance(law, Dirac) and law.noise is not None:
        found = tensor(law.noise)
    else:
        found = (z_t - alpha * tensor(law.mean)) / sigma
    return layout.sum((eps - found).double() ** 2)


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


class _Trained(Objective):
    """What the methods that train a codec have in common.

    Attributes
    ----------
    warmup : the share of the run over which the divergence of the latents from the prior is
        switched on, from 0 to its own weight.
    spectral : the layers whose largest singular values are added, `strength` times their sum.
    rates : of the learning rate, for parts of the networks: see `Turn`.
    """

    warmup: float
    spectral: Spectral | None
    strength: float
    rates: Mapping[str, float]

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= 1:
            raise ConfigError("a share of the run", value=self.warmup, limit="0 to 1")
        if not 0 <= self.strength < math.inf:
            raise ConfigError(
                "a penalty has a positive weight", value=self.strength, limit=">= 0, finite"
            )

    @abstractmethod
    def bound(
        self, networks: Networks, batch: Batch, noise: NoiseSource, share: float
    ) -> Float[Tensor, " batch"]:
        """(B,) nats: the evidence bound with `share` of its divergence."""

    def turns(self, networks: Networks) -> Sequence[Turn]:
        return [Turn(self._loss, parts=self._parts, rates=self.rates)]

    @property
    def _parts(self) -> Sequence[str]:
        return ("denoiser", "codec", "others")

    def _loss(
        self, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
    ) -> Tensor:
        """(B,) nats per degree of freedom of the data."""
        total = self.bound(networks, batch, noise, progress.ramp(self.warmup))
        losses = total / batch.layout.sizes
        if self.spectral is None:
            return losses
        return losses + self.strength * networks.others["spectral"](networks.codec)


@final
@dataclass(frozen=True, eq=False)
class VAE(_Trained):
    """The codec alone, with the prior N(0, I): the first stage. A denoiser that goes with it is a
    `Mixed` with c = 0."""

    warmup: float = 0.3
    spectral: Spectral | None = None
    strength: float = 0.0
    rates: Mapping[str, float] = field(default_factory=dict)

    def bound(
        self, networks: Networks, batch: Batch, noise: NoiseSource, share: float
    ) -> Float[Tensor, " batch"]:
        found = networks.codec.encode(batch.x0, batch.layout, batch.condition, noise)
        gain, cost = drawn(found)
        squares = found.layout.sum(tensor(found.state).double() ** 2)
        normal = 0.5 * squares + 0.5 * math.log(2 * math.pi) * found.layout.sizes
        return -gain + share * (cost + normal)

    @property
    def _parts(self) -> Sequence[str]:
        return ("codec", "others")


@final
@dataclass(frozen=True, eq=False)
class LSGM(_Trained):
    """Codec and prior together.

    Attributes
    ----------
    prior : the prior's own weighting.
    apart : two turns, each with an evaluation and times of its own, the encoder's those of ll, in
        the place of one turn that shares the evaluation.
    """

    prior: Prior = field(default_factory=Prior)
    warmup: float = 0.0
    spectral: Spectral | None = None
    strength: float = 0.0
    rates: Mapping[str, float] = field(default_factory=dict)
    apart: bool = False

    def bound(
        self, networks: Networks, batch: Batch, noise: NoiseSource, share: float
    ) -> Float[Tensor, " batch"]:
        return self._bound(self.prior, networks, batch, noise, share)

    def turns(self, networks: Networks) -> Sequence[Turn]:
        if not self.apart:
            return super().turns(networks)
        own = {name: rate for name, rate in self.rates.items() if name.startswith("denoiser")}
        rest = {name: rate for name, rate in self.rates.items() if name not in own}
        prior = Turn(OnStates(Frozen(self.prior)), parts=("denoiser",), rates=own, name="prior")
        return [Turn(self._encoder, parts=("codec", "others"), rates=rest), prior]

    def _encoder(
        self, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
    ) -> Tensor:
        alone = LSGM(Prior("ll", self.prior.eps), self.warmup, self.spectral, self.strength)
        return alone._loss(networks, batch, noise, progress)

    @staticmethod
    def _bound(
        prior: Prior, networks: Networks, batch: Batch, noise: NoiseSource, share: float
    ) -> Tensor:
        found = networks.codec.encode(batch.x0, batch.layout, batch.condition, noise)
        gain, cost = drawn(found)
        states = Batch(found.state, found.layout, batch.condition)
        nats, loss = prior.cross_entropy(networks.denoiser, states, noise, share)
        # the value is that of the bound, the gradients are the loss's
        return -gain + share * cost + loss + (share * nats - loss).detach()


@final
@dataclass(frozen=True, eq=False)
class Frozen(Objective):
    """The prior alone, on latents of a codec as it is, nats per degree of freedom of the latents:
    latent diffusion (Rombach 2022)."""

    prior: Prior = field(default_factory=Prior)
    rates: Mapping[str, float] = field(default_factory=dict)

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        nats, loss = self.prior.cross_entropy(denoiser, batch, noise)
        return (loss + (nats - loss).detach()) / batch.layout.sizes

    def turns(self, networks: Networks) -> Sequence[Turn]:
        return [Turn(OnStates(self), parts=("denoiser", "others"), rates=self.rates)]


def drawn(found: Encoded) -> tuple[Float64[Tensor, " batch"], Float64[Tensor, " batch"]]:
    """log p(x | z) and log q(z | x). InputError for a codec whose latents have no density."""
    if found.log_posterior is None:
        raise InputError(
            "the codec draws no latents: it cannot be trained together with a prior",
            fix="a stochastic encoder, such as Autoencoder(posterior=DiagonalGaussian())",
        )
    return found.log_density + found.log_posterior, found.log_posterior


def _continuous(denoiser: Denoiser) -> GaussianKernel:
    kernel = denoiser.kernel
    if not isinstance(kernel, GaussianKernel) or kernel.steps is not None:
        raise ConfigError(
            "a prior of latents is a Gaussian diffusion with a continuous clock",
            value=type(kernel).__name__,
            fix="GaussianKernel(Euclidean(), Geometric())",
        )
    return kernel
