"""A tiny model of two kinds of pictures, and a folder of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unnoise.model import Model
from unnoise_images.configuration import Configuration
from unnoise_images.domain import Images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten grey 12 x 10 (width x height) pictures in each of the classes `cat` and `dog`."""
    root = tmp_path / "pictures"
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for k in range(10):
            pixels = np.full((10, 12), 100 * label + k, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{k:02}.png")
    return root


@pytest.fixture
def make_model() -> Callable[..., Model]:
    """A function that builds an untrained model whose output is not zero."""

    def make(**options: object) -> Model:
        values = {
            "height": 10,
            "width": 12,
            "channels": 1,
            "classes": ("cat", "dog"),
            "held_out": 0,
            "widths": (8, 8),
            "blocks": (1, 1),
        }
        configuration = Configuration(**(values | options))
        torch.manual_seed(0)
        domain = Images()
        denoiser = domain.build(configuration)
        with torch.no_grad():
            for parameter in denoiser.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return Model(
            domain,
            denoiser.eval(),
            configuration,
            domain.defaults(configuration),
        )

    return make


@pytest.fixture
def model(make_model: Callable[..., Model]) -> Model:
    return make_model()
