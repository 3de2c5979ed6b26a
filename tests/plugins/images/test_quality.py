"""Quality of generated pictures by a network of features."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import unnoise
from unnoise.cli import main
from unnoise.errors import BundleError, InputError
from unnoise_images.features import SHIPPED, FeatureNet, features_of, learned, read
from unnoise_images.quality import Quality


@pytest.fixture(scope="module")
def digits():
    return unnoise.load("images")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """What the shipped model draws, as a folder of classes: pictures at no distance from it."""
    place = tmp_path_factory.mktemp("drawn")
    out = digits.generate(label=list(range(10)), num_samples=30, steps=3, seed=7, guidance_scale=1)
    for k, sample in enumerate(out.samples):
        (place / str(k // 30)).mkdir(exist_ok=True)
        sample.save(place / str(k // 30) / f"{k:03}.png")
    return place


def parts_of(digits, folder):
    configuration = digits.configuration.model_copy(update={"held_out": 150})
    domain = digits.domain
    return {part: domain.dataset(folder, configuration, part) for part in ("train", "validation")}


def test_the_shipped_network_reads_the_labels(digits):
    out = digits.generate(label=list(range(10)), num_samples=5, steps=10, seed=0)
    pixels = torch.from_numpy(np.stack([np.asarray(s) for s in out.samples]))[:, None]
    told = features_of(read(SHIPPED), pixels.float() / 255).argmax(1)
    assert (told == torch.arange(10).repeat_interleave(5)).double().mean() > 0.95


def test_one_law_is_near_and_a_worse_one_is_far(digits, folder):
    parts = parts_of(digits, folder)
    network = read(SHIPPED)
    near, far = (
        Quality(num_samples=150, steps=steps, seed=1, guidance_scale=1).compare(
            digits, parts, network.seen, judge=network
        )["rows"]
        for steps in (3, 1)
    )
    assert near["generated"]["accuracy"] > 0.85
    assert far["generated"]["frechet"] > 5 * near["generated"]["frechet"]
    # the same steps of the same model are as near as the training part: one law
    ratio = near["generated"]["frechet"] / near["training part"]["frechet"]
    assert 0.6 < ratio < 1.7
    row = near["generated"]
    assert abs(row["kernel"] - near["training part"]["kernel"]) < 5 * row["kernel_error"]
    assert row["limit"] is None  # 150 rows of 64 features are too few to draw a line through


def test_any_network_of_torch(digits, folder):
    class Means(nn.Module):
        def forward(self, x):
            return nn.functional.avg_pool2d(x, 7).flatten(1)

    found = Quality(num_samples=130, steps=1).compare(digits, parts_of(digits, folder), Means())
    assert found["rows"]["generated"]["frechet"] > 0
    assert found["rows"]["generated"]["accuracy"] is None
    with pytest.raises(InputError, match="one row for each picture"):
        Quality(num_samples=130, steps=1).compare(digits, parts_of(digits, folder), nn.Identity())


def test_the_command(folder, tmp_path, capsys, monkeypatch):
    """The network is learned where there is none, kept, and read the next time."""
    words = ["evaluate", "images", "--metric", "quality", "--data", str(folder), "--json"]
    words += ["--model", str(run_of(folder, tmp_path)), "--num-samples", "130", "--steps", "2"]
    kept = tmp_path / "features"
    assert main([*words, "--features", str(kept)]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main([*words, "--features", str(kept)]) == 0
    second = json.loads(capsys.readouterr().out)
    assert first["features"].startswith("learned from the 150 pictures")
    assert second["features"] == str(kept)
    for name, row in first["rows"].items():
        assert second["rows"][name]["frechet"] == pytest.approx(row["frechet"], rel=1e-3)
    assert main([word for word in words if word != "--json"]) == 0
    said = capsys.readouterr().out
    assert "shipped, of the digits" in said
    assert "| training part |" in said


def run_of(folder, tmp_path):
    small = {"widths": (8, 8), "blocks": (0, 1), "held_out": 150, "bound_samples": 0}
    unnoise.train("images", folder, tmp_path / "run", steps=1, device="cpu", **small)
    return tmp_path / "run"


def test_it_learns_classes_and_quarter_turns(folder):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 1, 16, 16, generator=generator) * 0.1
    labels = torch.arange(200) % 2
    x[labels == 1, :, :, :8] += 0.8  # the left half is bright
    x[labels == 0, :, :, 8:] += 0.8
    network = learned(x, labels, ("right", "left"), epochs=4)
    assert (features_of(network, x).argmax(1) == labels).double().mean() > 0.95
    bright = x[labels == 1]
    turned = learned(bright.repeat(4, 1, 1, 1), torch.zeros(400), (), epochs=4)
    assert turned.classes == ("0", "90", "180", "270")
    quarters = torch.cat([bright.rot90(k, (-2, -1)) for k in range(4)])
    wanted = torch.arange(4).repeat_interleave(100)
    assert (features_of(turned, quarters).argmax(1) == wanted).double().mean() > 0.9


def test_large_pictures_are_made_smaller_first():
    network = FeatureNet(3, ("a", "b")).eval()
    x = torch.rand(2, 3, 64, 48).repeat_interleave(4, -1).repeat_interleave(4, -2)
    small = network.seen(nn.functional.interpolate(x, (64, 48), mode="area"))
    assert torch.allclose(network.seen(x), small, atol=0.05)


def test_what_is_kept_is_checked(tmp_path):
    with pytest.raises(InputError, match="no network of features"):
        read(tmp_path / "nothing")
    FeatureNet(1, ("a", "b")).save(tmp_path / "kept")
    (tmp_path / "kept" / "config.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        read(tmp_path / "kept")


def test_too_few_pictures_are_said_before_any_is_made(digits, tmp_path):
    for k in range(20):
        (tmp_path / str(k % 10)).mkdir(exist_ok=True)
        Image.fromarray(np.full((28, 28), k, np.uint8)).save(tmp_path / str(k % 10) / f"{k}.png")
    configuration = digits.configuration.model_copy(update={"held_out": 10})
    parts = {p: digits.domain.dataset(tmp_path, configuration, p) for p in ("train", "validation")}
    with pytest.raises(InputError, match="too small"):
        Quality().compare(digits, parts, nn.Identity())
    with pytest.raises(InputError, match="allowed: >= 100"):
        learned(torch.rand(99, 1, 8, 8), torch.zeros(99), ())
