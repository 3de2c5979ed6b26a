"""A folder of captioned pictures, and small untrained models of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unnoise.model import Model
from unnoise_text2image.domain import Text2Image

COLOURS = {"red": (255, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}
THINGS = ("apple", "heart", "flag")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve 16 x 16 pictures, a thing in a colour each, with two captions."""
    root = tmp_path / "pictures"
    root.mkdir()
    with open(root / "captions.jsonl", "w") as table:
        for n, thing in enumerate(THINGS):
            for name, colour in COLOURS.items():
                picture = Image.new("RGB", (16, 16), "white")
                picture.paste(colour, (2 + n, 2, 14, 14 - n))
                path = f"{name}-{thing}.png"
                picture.save(root / path)
                captions = [f"{name} {thing}", f"a {thing} in {name}"]
                split = "validation" if (name, thing) == ("black", "flag") else "train"
                table.write(json.dumps({"path": path, "captions": captions, "split": split}) + "\n")
    return root


@pytest.fixture
def make_model(folder: Path) -> Callable[..., Model]:
    """A function that builds an untrained model whose output is not zero."""

    def make(**options: object) -> Model:
        domain = Text2Image()
        small = {
            "widths": (8, 16),
            "blocks": (1, 1),
            "upsampler_widths": (8, 8, 16),
            "upsampler_blocks": (1, 1, 1),
            "text_width": 16,
            "text_layers": 1,
            "text_heads": 2,
            "length": 8,
            "vocabulary": 96,
        }
        configuration = domain.configure(folder, {"stage": "cascade", **small, **options})
        torch.manual_seed(0)
        denoiser = domain.build(configuration)
        with torch.no_grad():
            for parameter in denoiser.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return Model(domain, denoiser.eval(), configuration, domain.defaults(configuration))

    return make


@pytest.fixture
def model(make_model: Callable[..., Model]) -> Model:
    return make_model()


@pytest.fixture
def picture() -> Image.Image:
    """16 x 16 of noise."""
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(values)
