"""The further models in the wheel."""

from __future__ import annotations

import numpy as np
from PIL import Image

import unnoise
from unnoise_latent import EXAMPLES


def test_black_and_white_digits():
    model = unnoise.load("latent/binarised")
    assert model.configuration.likelihood == "bernoulli"
    out = unnoise.generate("latent", model="latent/binarised", label=[1, 8], num_samples=8, seed=0)
    pixels = np.stack([np.asarray(sample) for sample in out.samples])
    assert set(np.unique(pixels)) == {0, 255}
    white = (pixels > 0).mean(axis=(1, 2))
    assert 0.03 < white[:8].mean() < 0.1 < white[8:].mean() < 0.3  # a one is thinner than an eight


def test_a_picture_is_reconstructed():
    source = str(EXAMPLES[0])
    out = unnoise.generate(
        "latent", model="latent/binarised", source=source, num_samples=4, seed=0, threads=1
    )
    wanted = np.asarray(Image.open(source).convert("L")) > 127
    found = np.stack([np.asarray(sample) > 127 for sample in out.samples])
    assert (found != wanted).mean() < 0.06
