"""Small vocoders without training, whose output is not zero."""

from __future__ import annotations

import torch

from unnoise.model import Model
from unnoise_audio.configuration import Configuration, Learned
from unnoise_audio.domain import Vocoder
from unnoise_audio.mel import MelConfiguration

QUICK = MelConfiguration(sample_rate=8000, fft=128, window=128, hop=40, mels=20, high=4000.0)
"""A front end of few numbers."""


def vocoder(mel: MelConfiguration = QUICK, **options: object) -> Model:
    known = Learned(scale=(0.5,) * mel.hop, mean=-5.0, spread=2.0)
    small = {"width": 12, "layers": 2, "patch": 20, "kernel": 5, "mel": mel, "learned": known}
    own = Configuration(**(small | options))
    torch.manual_seed(0)
    domain = Vocoder()
    denoiser = domain.build(own)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return Model(domain, denoiser.eval(), own, domain.defaults(own))
