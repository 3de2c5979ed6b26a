"""Training a codec q(z | x), p(x | z) and the diffusion of its latents (Vahdat 2021, LSGM).

    -log p(x) <= E_q [-log p(x | z) + log q(z | x)] + CE(q(z | x) || p(z)),

with the cross entropy of `unnoise_latent.cross_entropy`: a prior has a weighting of its own, the
encoder's gradient is that of the bound, and both come from one evaluation of the network.

| method | what learns | CE |
|---|---|---|
| `VAE` | codec | of N(0, I): 1/2 E|z|^2 + d/2 log 2 pi |
| `Frozen` | prior | by its own weighting |
| `LSGM` | both | as above |
| `Unified` | both | together with log q: see there |
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.codecs import Encoded, Tied
from unnoise.denoise import Denoiser
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Above
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Elapsed, Networks, Objective, OnStates, Turn
from unnoise.spaces import tensor
from unnoise_latent.cross_entropy import Prior, continuous
from unnoise_latent.spectral import Spectral


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
    """The codec alone, with the prior N(0, I): the first stage. The denoiser that goes with it is
    one that says the normal law until it is trained, so that later stages can start from both."""

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


@final
@dataclass(frozen=True, eq=False)
class Unified(_Trained):
    """Codec and prior together, the noise of the latents being the prior's least (Heek 2026,
    Unified Latents): of a `Tied` codec, and a kernel `Above` its schedule.

    With z_t = alpha_t mu(x) + sigma_t eps for all t, the decoder reading z_0, and SNR_t bounded,

        log q(z_0 | x) + CE = KL(q(z_1 | x) || p(z_1)) + 1/2 int gamma' E|eps - eps_hat(z_t)|^2 dt
        = KL(q(z_1 | x) || p(z_1)) + 1/2 int -SNR' E|mu - mu_hat(z_t)|^2 dt.

    No density of latents is left that an encoder could make arbitrarily narrow.

    Attributes
    ----------
    prior : its own weighting; mu is trained by ll.
    """

    prior: Prior = field(default_factory=Prior)
    warmup: float = 0.0
    spectral: Spectral | None = None
    strength: float = 0.0
    rates: Mapping[str, float] = field(default_factory=dict)

    def bound(
        self, networks: Networks, batch: Batch, noise: NoiseSource, share: float
    ) -> Float[Tensor, " batch"]:
        codec, kernel = networks.codec, continuous(networks.denoiser)
        if not isinstance(codec, Tied) or not isinstance(kernel.schedule, Above):
            raise ConfigError(
                "unified latents have the least noise of the prior's schedule",
                value=f"{type(codec).__name__}, {type(kernel.schedule).__name__}",
                fix="Tied(codec, schedule) and GaussianKernel(space, Above(schedule))",
            )
        mu, layout = codec.clean(batch.x0, batch.layout, batch.condition)
        z = codec.law(mu, layout).sample(noise)
        gain = codec.decode(z, layout, batch.condition).log_prob(batch.x0).double()
        states = Batch(mu, layout, batch.condition)
        nats, loss = self.prior.divergence(networks.denoiser, states, noise, share)
        return -gain + loss + (share * nats - loss).detach()


def drawn(found: Encoded) -> tuple[Float64[Tensor, " batch"], Float64[Tensor, " batch"]]:
    """log p(x | z) and log q(z | x). InputError for a codec whose latents have no density."""
    if found.log_posterior is None:
        raise InputError(
            "the codec draws no latents: it cannot be trained together with a prior",
            fix="a stochastic encoder, such as Autoencoder(posterior=DiagonalGaussian())",
        )
    return found.log_density + found.log_posterior, found.log_posterior
