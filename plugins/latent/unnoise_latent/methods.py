"""What is trained, by the name of the method."""

from __future__ import annotations

from typing import Final

from unnoise.codecs import Codec
from unnoise.kernels import Above, Geometric, Schedule, VPCosine, VPLinear
from unnoise.objectives import Objective
from unnoise_latent.configuration import Configuration
from unnoise_latent.cross_entropy import Prior
from unnoise_latent.objective import LSGM, VAE, Frozen, Unified
from unnoise_latent.spectral import Spectral

RATES: Final = {"denoiser.network.logit": 10.0}
"""Of the mixed score's logits, whose steps are in units of 1."""


def method(configuration: Configuration, codec: Codec) -> Objective:
    """The objective of the configuration's method.

    Parameters
    ----------
    codec : tells the layers of the spectral regularisation.
    """
    prior = Prior(configuration.weighted)
    if configuration.method == "frozen":
        return Frozen(prior, RATES)
    spectral = Spectral(codec) if configuration.spectral else None
    strength = configuration.spectral
    if configuration.method == "vae":
        return VAE(configuration.kl_warmup, spectral, strength)
    kind = LSGM if configuration.method == "lsgm" else Unified
    return kind(prior, configuration.kl_warmup, spectral, strength, RATES)


UNIFIED: Final = VPCosine(log_snr_max=5.0)
"""Of Unified Latents, whose codes have its least noise, log SNR 5."""


def schedule_of(configuration: Configuration) -> Schedule:
    """Of the prior, with fixed ends."""
    if configuration.method == "unified":
        return Above(UNIFIED)
    return Geometric() if configuration.schedule == "geometric" else VPLinear()
