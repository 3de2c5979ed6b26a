"""Pictures of which something was seen: through a blur, small, with holes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import unnoise
from unnoise.cli import main
from unnoise.conditioning import operator_named
from unnoise.errors import InputError, UnnoiseError
from unnoise.model import Model
from unnoise.spaces import Euclidean


def stripes() -> np.ndarray:
    """A digit-like bar, 28 x 28."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 12:16] = 255
    return pixels


def through(operator: str, pixels: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(pixels.copy()).double()[None]
    return operator_named(operator)(x, Euclidean().layout(x))[0].round().byte().numpy()


@pytest.mark.parametrize(
    ("operator", "method"),
    [("blur(1.5)", "diffpir"), ("downsample(4)", "diffpir"), ("blur(1.5)", "mmps")],
)
def test_what_is_made_looks_like_what_was_seen(operator: str, method: str) -> None:
    """Of the shipped model: seen through the same operator, it is what was measured."""
    seen = through(operator, stripes())
    asked = {"measure": seen, "operator": operator, "noise": 0.03, "method": method}
    out = unnoise.generate("images", label=1, num_samples=2, steps=12, **asked)
    plain = unnoise.generate("images", label=1, num_samples=2, steps=12)

    def error(samples: list[Image.Image]) -> float:
        found = [through(operator, np.asarray(one)).astype(float) for one in samples]
        return float(np.mean([np.abs(one - seen.astype(float)).mean() for one in found]))

    assert error(out.samples) < 0.4 * error(plain.samples)
    assert error(out.samples) < 12
    apart = np.abs(np.asarray(out.samples[0]).astype(int) - np.asarray(out.samples[1]))
    assert apart.max() > 20  # two samples, not one answer


def test_the_command_line(tmp_path: Path) -> None:
    Image.fromarray(through("blur(2)", stripes())).save(tmp_path / "blur.png")
    words = ["generate", "images", "--measure", str(tmp_path / "blur.png"), "--operator", "blur(2)"]
    assert main([*words, "--steps", "3", "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["sampler"] == "Renoised(zeta=0.3)"
    assert record["request"]["operator"] == "blur(2)"
    hole = np.zeros((28, 28), np.uint8)
    hole[10:18, 10:18] = 255
    Image.fromarray(hole).save(tmp_path / "mask.png")
    Image.fromarray(stripes()).save(tmp_path / "seen.png")
    words = ["--measure", str(tmp_path / "seen.png"), "--mask", str(tmp_path / "mask.png")]
    method = ["--method", "particles", "--particles", "4", "--steps", "3"]
    assert main(["generate", "images", *words, *method, "--out", str(tmp_path / "holes")]) == 0
    record = json.loads((tmp_path / "holes" / "provenance.json").read_text())
    assert record["sampler"].startswith("SMC(potential=Measurement(")
    assert "least_effective" in record["sampled"]["0"]


def test_a_sample_does_not_depend_on_its_batch(model: Model) -> None:
    seen = np.full((5, 6), 100, np.uint8)
    for method in ("diffpir", "mmps", "particles"):
        asked = {"measure": seen, "operator": "downsample(2)", "steps": 3, "method": method}
        all_of_them = model.generate(num_samples=3, **asked).states
        alone = model.generate(num_samples=3, ids=[2], **asked).states
        assert isinstance(alone, Tensor)
        torch.testing.assert_close(all_of_them[2:], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"operator": "blur(2)"}, "without measure"),
        ({"noise": 0.1}, "without measure"),
        ({"method": "mmps"}, "without measure"),
        ({"measure": "whole", "operator": "blur(-1)"}, "has a width"),
        ({"measure": "whole", "operator": "sharpen(1)"}, "no such operator"),
        ({"measure": "whole", "operator": "downsample(2)"}, "another size"),
        ({"measure": "whole", "operator": "downsample(7)"}, "divides both axes"),
        ({"measure": "small"}, "another size"),
        ({"measure": "whole", "noise": 0.0}, "noise"),
        ({"measure": "whole", "noise": float("nan")}, "noise"),
        ({"measure": "whole", "method": "magic"}, "method"),
        ({"measure": "whole", "particles": 8}, "another method"),
        ({"measure": "whole", "strength": 0.5}, "do not go together"),
        ({"measure": "whole", "image": "whole", "mask": "whole"}, "do not go together"),
        ({"measure": "whole", "operator": "blur(2)", "mask": "whole"}, "the picture itself"),
        ({"measure": "nowhere.png"}, "no file"),
        ({"measure": "whole", "sampler": "ddim"}, "already fixes its sampler"),
    ],
)
def test_what_cannot_be_done_is_said(model: Model, asked: dict[str, object], said: str) -> None:
    pictures = {"whole": np.zeros((10, 12), np.uint8), "small": np.zeros((4, 4), np.uint8)}
    given = {k: pictures.get(v, v) if isinstance(v, str) else v for k, v in asked.items()}
    with pytest.raises(UnnoiseError, match=said):
        model.generate(steps=2, **given)


def test_a_model_without_a_mean_is_refused(make_model) -> None:
    with pytest.raises(InputError, match="goal 'adversarial'"):
        make_model(goal="adversarial").generate(measure=np.zeros((10, 12), np.uint8))
