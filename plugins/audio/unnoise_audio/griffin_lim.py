"""Griffin-Lim: a sound whose magnitudes are given, found by turns (what a vocoder is measured by).

    magnitudes  S = max(0, pseudo-inverse of the bands),
    phases      P <- angle(C + momentum (C - C')),  C = STFT(iSTFT(S exp(i P))), C' that of before

(Griffin & Lim 1984; with momentum, Perraudin 2013), by torchaudio.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import InputError
from unnoise_audio.backend import functional
from unnoise_audio.mel import MelConfiguration, filters, unmapped


def griffin_lim(
    mel: Float[Tensor, "rows mels frames"],
    configuration: MelConfiguration,
    *,
    iterations: int = 32,
    momentum: float = 0.99,
    length: int | None = None,
    seed: int = 0,
) -> Float[Tensor, "rows samples"]:
    """Sound with this mel.

    Parameters
    ----------
    length : samples; by default as many as the frames span.
    seed : of the phases that it begins with.

    Raises
    ------
    InputError : no iteration, a mel of another shape.
    """
    c = configuration
    if iterations < 1:
        raise InputError("Griffin-Lim takes turns", value=iterations, limit=">= 1")
    if mel.ndim != 3 or mel.shape[1] != c.mels:
        raise InputError("wrong shape of the mel", value=tuple(mel.shape), limit=(c.mels, "frames"))
    window = torch.hann_window(c.window)
    bands = unmapped(mel, c)
    spectrum = (_inverse(c) @ bands).clamp(min=0)
    if c.window_norm == "energy":
        spectrum = spectrum * window.square().sum().sqrt() ** c.power
    shift = c.hop // 2 if c.placing == "same" else 0
    span = (mel.shape[-1] - 1) * c.hop + 2 * shift if length is None else length
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wave: Tensor = functional.griffinlim(
            spectrum, window, c.fft, c.hop, c.window, c.power, iterations, momentum, None, True
        )
    wave = torch.nn.functional.pad(wave, (shift, max(0, span - shift - wave.shape[-1])))
    return wave[..., :span]


@lru_cache(maxsize=16)
def _inverse(configuration: MelConfiguration) -> Float[Tensor, "frequencies mels"]:
    """The pseudo-inverse of the bands."""
    inverse: Tensor = torch.linalg.pinv(filters(configuration).double())
    return inverse.T.float()
