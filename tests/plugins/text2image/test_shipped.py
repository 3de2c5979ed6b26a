"""The shipped model, from the command line too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unnoise
from unnoise.cli import main
from unnoise.model import Model
from unnoise_text2image.domain import Text2Image


@pytest.fixture(scope="module")
def shipped() -> Model:
    assert Text2Image.bundle is not None
    return unnoise.load(Text2Image.bundle)


def test_the_bundle_is_small_and_says_where_it_comes_from(shipped: Model) -> None:
    folder = Text2Image.bundle
    assert folder is not None
    assert sum(file.stat().st_size for file in folder.iterdir()) < 25e6
    assert shipped.configuration.stage == "cascade"
    assert shipped.configuration.sides == (32, 64)
    assert "Noto" in shipped.card["data"]
    assert "CC-BY-4.0" in shipped.card["licence"]
    assert "held-out compositions" in shipped.card["split"]
    assert "train_shipped.py" in shipped.card["command"]


def test_words_become_a_picture_on_the_command_line(tmp_path: Path, capsys) -> None:
    words = ["generate", "text2image", "--prompt", "a red apple", "--out", str(tmp_path / "out")]
    quick = ["--num-samples", "1", "--steps", "4", "--upsampler-steps", "2", "--device", "cpu"]
    assert main([*words, *quick]) == 0
    (picture,) = (tmp_path / "out").glob("*.png")
    with Image.open(picture) as found:
        assert (found.size, found.mode) == ((64, 64), "RGB")
    assert (tmp_path / "out" / "provenance.json").is_file()


def test_the_prompt_decides_the_colour(shipped: Model) -> None:
    out = shipped.generate(
        prompt=["red heart", "blue heart"], num_samples=4, steps=12, upsampler_steps=4, device="cpu"
    )
    pixels = np.stack([np.asarray(sample, dtype=float) for sample in out.samples])
    red_less_blue = (pixels[..., 0] - pixels[..., 2]).mean((1, 2)).reshape(2, 4)
    assert red_less_blue[0].min() > red_less_blue[1].max()


def test_the_ground_is_white(shipped: Model) -> None:
    out = shipped.generate(prompt="red heart", num_samples=2, steps=12, upsampler_steps=4)
    pixels = np.stack([np.asarray(sample, dtype=float) for sample in out.samples])
    corners = pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.mean() > 215
