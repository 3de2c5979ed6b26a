"""A small untrained model of two kinds of pictures, and a folder of them; tests share the modules
beside them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unnoise.model import Model
from unnoise_latent.configuration import Configuration
from unnoise_latent.domain import Latent

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten grey 12 x 10 (width x height) pictures in each of the classes `cat` and `dog`."""
    root = tmp_path / "pictures"
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for k in range(10):
            pixels = np.full((10, 12), 100 * label + 7 * k, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{k:02}.png")
    return root


@pytest.fixture
def make_model() -> Callable[..., Model]:
    """A function that builds an untrained model whose output is not zero."""

    def make(**options: object) -> Model:
        values = {
            "height": 10,
            "width": 12,
            "picture_channels": 1,
            "classes": ("cat", "dog"),
            "held_out": 0,
            "channels": 4,
            "widths": (8, 16),
            "prior_width": 16,
            "prior_layers": 1,
        }
        configuration = Configuration(**(values | options))
        torch.manual_seed(0)
        domain = Latent()
        denoiser, codec = domain.build(configuration), domain.codec(configuration)
        with torch.no_grad():
            for module in (denoiser, codec):
                for parameter in module.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
        return Model(
            domain,
            denoiser.eval(),
            configuration,
            domain.defaults(configuration),
            codec=codec.eval(),
        )

    return make


@pytest.fixture
def model(make_model: Callable[..., Model]) -> Model:
    return make_model()
