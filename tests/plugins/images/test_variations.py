"""Pictures made of a picture: noise of a strength, put on it and taken off again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unnoise.cli import main
from unnoise.errors import InputError
from unnoise.model import Model


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.arange(120, dtype=np.uint8).reshape(10, 12) * 2)


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.95])
def test_the_noise_has_the_strength(model: Model, image: Image.Image, strength: float) -> None:
    """x_t = sqrt(1 - s^2) x_0 + s eps, of 64 x 120 draws: standard error 0.8 % of s."""
    out = model.generate(
        num_samples=64, image=image, strength=strength, steps=1, return_trajectory=True
    )
    x0 = torch.from_numpy(np.asarray(image).astype(np.float32)) / 127.5 - 1
    eps = (out.trajectory[0].x[:, 0] - (1 - strength**2) ** 0.5 * x0) / strength
    assert abs(float(eps.std()) - 1) < 0.035
    assert abs(float(eps.mean())) < 0.05
    assert (eps[0] - eps[1]).abs().max() > 1  # each sample has noise of its own


def test_little_noise_changes_little(model: Model, image: Image.Image) -> None:
    def change(strength: float) -> float:
        out = model.generate(num_samples=4, label=1, image=image, strength=strength, steps=4)
        given = np.asarray(image).astype(float)
        return float(np.mean([np.abs(np.asarray(s) - given).mean() for s in out]))

    assert change(0.02) < change(0.3) < change(0.9)
    assert change(0.02) < 10  # of 255


def test_a_mask_keeps_what_it_keeps(model: Model, image: Image.Image) -> None:
    mask = Image.new("L", (12, 10), 0)
    mask.paste(255, (0, 0, 6, 10))
    out = model.generate(num_samples=2, image=image, mask=mask, strength=0.8, steps=3)
    for sample in out:
        same = np.asarray(sample) == np.asarray(image)
        assert same[:, 6:].all()
        assert not same[:, :6].all()


def test_wrong_requests(model: Model, image: Image.Image) -> None:
    for message, request in (
        ("strength was given without image", {"strength": 0.5}),
        ("without mask.*strength=", {"image": image}),
        ("strength", {"image": image, "strength": 1.0}),
        ("strength", {"image": image, "strength": -0.1}),
        ("strength is out of range", {"image": image, "strength": 1e-9}),
    ):
        with pytest.raises(InputError, match=message):
            model.generate(**request, steps=2)


def test_on_the_command_line(
    model: Model, image: Image.Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save(tmp_path / "model")
    image.save(tmp_path / "given.png")
    words = ["generate", "images", "--model", str(tmp_path / "model"), "--steps", "3"]
    given = ["--image", str(tmp_path / "given.png"), "--strength", "0.4"]
    assert main([*words, *given, "--num-samples", "2", "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["request"]["strength"] == 0.4
    assert len(record["files"]) == 2
    capsys.readouterr()
    assert main([*words, "--strength", "0.4", "--out", str(tmp_path / "other")]) == 2
    assert "--image" in capsys.readouterr().err
