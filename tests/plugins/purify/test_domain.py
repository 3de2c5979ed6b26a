"""`unnoise.generate("purify", ...)`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import unnoise
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM
from unnoise_purify import EXAMPLES, Purifier
from unnoise_purify.pixels import pixels_of
from unnoise_purify.samples import Case


def test_attacked_digits_are_recognised_again():
    """The shipped examples, on each of which the shipped classifier is wrong."""
    assert len(EXAMPLES) == 5
    labels = [int(path.stem) for path in EXAMPLES]
    out = unnoise.generate("purify", images=list(EXAMPLES), classifier="digits")
    cases = [Case.of(sample) for sample in out.samples]
    assert all(case.before.label != label for case, label in zip(cases, labels, strict=True))
    assert sum(case.after.label == k for case, k in zip(cases, labels, strict=True)) >= 4
    assert out.provenance["counts"]["answers changed"] >= 4
    assert out.provenance["steps"] == 10
    assert out.provenance["sampler"].lower().startswith("ancestral")
    assert "data:image/png" in out.domain.display.preview(out.samples)


def test_a_request_is_the_purifier(digits_model):
    """The engine and `Purifier` make the same states of the same noise."""
    images = [Image.open(path) for path in EXAMPLES[:2]]
    out = unnoise.generate(
        "purify", images=images, strength=0.4, steps=3, sampler="ddim(eta=0.5)", seed=7
    )
    pixels = pixels_of(digits_model)
    x = torch.stack([torch.from_numpy(np.array(i, dtype=np.float32) / 255)[None] for i in images])
    purifier = Purifier(digits_model, 0.4, DDIM(0.5), 3)
    with torch.no_grad():
        z, layout = purifier.embedded(pixels.data(x), pixels.layout(2, x), None)
        told = pixels.condition(2, x.device)
        found = purifier.walked(z, layout, told, NoiseSource(7, range(2)))
    assert torch.allclose(found, out.states, atol=1e-5)


def test_pictures_may_be_anything(tmp_path):
    picture = Image.open(EXAMPLES[0])
    tensor = torch.from_numpy(np.array(picture, dtype=np.float32) / 255)[None]
    picture.save(tmp_path / "a.png")
    asked = {"steps": 1, "seed": 1}
    expected = np.array(unnoise.generate("purify", images=picture, **asked).samples[0])
    for images in (
        tmp_path,
        str(tmp_path / "a.png"),
        tensor,
        tensor[None],
        np.array(picture),
        [picture],
    ):
        out = unnoise.generate("purify", images=images, **asked)
        assert np.array_equal(np.array(out.samples[0]), expected)


def test_votes_are_averaged_and_files_written(tmp_path):
    out = unnoise.generate("purify", images=str(EXAMPLES[0]), steps=1, votes=3, num_samples=2)
    assert out.provenance["evaluations"] == 3
    (path, _) = out.save(tmp_path)
    with Image.open(path) as again:
        assert np.array_equal(np.array(again), np.array(out.samples[0]))
        assert Case.of(again) is None


def test_bad_requests_are_refused(tmp_path):
    good = torch.rand(1, 28, 28)
    (tmp_path / "none").mkdir()
    for fields, message in (
        ({"images": good * 255}, "outside of"),
        ({"images": torch.rand(1, 32, 32)}, "another size"),
        ({"images": Image.new("L", (32, 32))}, "another size"),
        ({"images": tmp_path / "none"}, "no pictures"),
        ({"images": tmp_path / "missing.png"}, "no file"),
        ({"images": []}, "no pictures"),
        ({"images": good, "strength": 1e-9}, "strength"),
        ({"images": good, "strength": 1.5}, "strength"),
        ({"images": good, "votes": 0}, "votes"),
        ({"images": good, "classifier": "no-such-classifier"}, "no such classifier"),
        ({"images": good, "classifier": object()}, "no classifier"),
        ({"images": good, "image": good}, "images"),
    ):
        with pytest.raises(InputError, match=message):
            unnoise.generate("purify", **fields)
