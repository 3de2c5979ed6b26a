"""What sound is to a diffusion: MDCT coefficients in units of the mel's envelope.

    z[m, k] = X[m, k] / (scale_k envelope[m, k]),

X the MDCT of block m and envelope the mean magnitude that the mel gives around the frequency of
coefficient k. A diffusion of z to N(0, I) is one of the sound to noise with the spectrum that the
mel says, the data-dependent prior of PriorGrad (Lee 2022), in time and frequency.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.codecs import Chain, Codec, Identity, LocationScale, Moments
from unnoise.denoise import Condition
from unnoise.errors import InputError
from unnoise.spaces import Layout
from unnoise_audio.configuration import Configuration
from unnoise_audio.mdct import MDCT
from unnoise_audio.mel import MelConfiguration, log_bands, log_envelope


@final
class Envelope(LocationScale):
    """Coefficients in units of what the mel of the condition says of them."""

    scale: Tensor

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.mel = configuration.mel
        self.register_buffer("scale", torch.tensor(configuration.known.scale), persistent=False)

    def moments(self, layout: Layout, condition: Condition) -> Moments:
        if condition is None or "mel" not in condition:
            raise InputError("the codec reads the mel from the condition", value=condition)
        envelope = log_envelope(condition["mel"], self.mel).exp()
        return Moments(torch.zeros(()), envelope * self.scale.to(envelope))


@final
class Loudness(LocationScale):
    """Samples in units of how loud the mel says that their frame is,

        z[m, n] = x[m, n] / (scale e_m),   e_m^2 = sum over bands of (mean magnitude)^2,

    the prior of PriorGrad for waveforms. An error of z is one of x times 1 / (scale e_m), so that
    the loss has the weight S^-1 of that paper.
    """

    scale: Tensor

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.mel = configuration.mel
        self.register_buffer("scale", torch.tensor(configuration.known.scale), persistent=False)

    def moments(self, layout: Layout, condition: Condition) -> Moments:
        if condition is None or "mel" not in condition:
            raise InputError("the codec reads the mel from the condition", value=condition)
        energy = loudness(condition["mel"], self.mel)
        return Moments(torch.zeros(()), energy * self.scale.to(energy))


def loudness(
    mel: Float[Tensor, "rows frames mels"], configuration: MelConfiguration
) -> Float[Tensor, "rows frames one"]:
    """e_m, the root of the bands' summed squares."""
    return (0.5 * (2 * log_bands(mel, configuration)).logsumexp(-1, keepdim=True)).exp()


def codec_of(configuration: Configuration) -> Codec:
    """From blocks of samples to states."""
    if configuration.method == "wavegrad":
        return Loudness(configuration) if configuration.prior == "mel" else Identity()
    return Chain(MDCT(configuration.mel.hop), Envelope(configuration))
