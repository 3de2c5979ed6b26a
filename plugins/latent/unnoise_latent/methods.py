"""What is trained, by the name of the method."""

from __future__ import annotations

from typing import Final

from unnoise.codecs import Codec
from unnoise.errors import ConfigError
from unnoise.kernels import Geometric, Schedule, VPCosine, VPLinear
from unnoise.objectives import Objective
from unnoise_latent.configuration import Configuration
from unnoise_latent.objective import LSGM, VAE, Frozen, Prior
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
    if configuration.method == "lsgm":
        return LSGM(prior, configuration.kl_warmup, spectral, strength, RATES)
    raise ConfigError("no such method", value=configuration.method)


def schedule_of(configuration: Configuration) -> Schedule:
    """Of the prior. Unified Latents' ends at the noise of the code, log SNR 5."""
    if configuration.method == "unified":
        return VPCosine(log_snr_max=5.0)
    return Geometric() if configuration.schedule == "geometric" else VPLinear()
