"""Masks in numbers, records that repeat a request, and what an output says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unnoise.errors import InputError
from unnoise.model import Model
from unnoise_images.files import as_picture, to_mask


@pytest.fixture
def image() -> Image.Image:
    return Image.new("L", (12, 10), 200)


@pytest.fixture
def mask() -> Image.Image:
    """White, to be painted, in the left half."""
    picture = Image.new("L", (12, 10), 0)
    picture.paste(255, (0, 0, 6, 10))
    return picture


@pytest.mark.parametrize("kind", [np.uint8, bool, np.float32])
def test_masks_of_zeros_and_ones(
    model: Model, image: Image.Image, mask: Image.Image, kind: type
) -> None:
    request = {"num_samples": 2, "label": 1, "image": image, "steps": 3}
    expected = model.generate(**request, mask=mask).states
    array = (np.asarray(mask) >= 128).astype(kind)
    assert 0 < array.mean() < 1
    given = [array, torch.from_numpy(array)]
    if kind is np.uint8:
        given.append(Image.fromarray(array))
    for other in given:
        assert torch.equal(model.generate(**request, mask=other).states, expected)


def test_a_record_repeats_the_request(
    model: Model, image: Image.Image, mask: Image.Image, tmp_path: Path
) -> None:
    mask.save(tmp_path / "mask.png")
    for known in (image, np.asarray(image), torch.from_numpy(np.array(image))):
        out = model.generate(label=1, image=known, mask=tmp_path / "mask.png", steps=3, seed=7)
        record = out.provenance
        again = model.generate(**record["request"], steps=record["steps"], seed=record["seed"])
        assert torch.equal(again.states, out.states)
        assert record["request"]["mask"] == str(tmp_path / "mask.png")


def test_a_large_value_is_not_printed_whole(model: Model, mask: Image.Image) -> None:
    with pytest.raises(InputError) as found:
        model.generate(image={"a": list(range(10_000))}, mask=mask)
    assert len(str(found.value)) < 1500


def test_an_output_is_shown_in_notebooks(model: Model) -> None:
    out = model.generate(num_samples=3, label=1, steps=2)
    assert len(out) == 3
    assert list(out) == out.samples
    assert repr(out).startswith("Output('images', 3 samples (Image), seed=0, sampler='DDIM(")
    assert len(repr(out)) < 200
    assert out._repr_html_().count("<img") == 3
    assert repr(model).startswith("Model('images', ")
    assert len(repr(model)) < 200


def test_fewer_samples_into_the_same_folder(model: Model, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("stays")
    model.generate(num_samples=3, label=1, steps=2).save(tmp_path)
    model.generate(num_samples=1, label=1, steps=2).save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["00000.png", "mine.txt", "provenance.json"]


@pytest.mark.parametrize("classes", [("1", "2", "10"), ("cat", "dog"), ()])
def test_a_model_in_training_shows_its_classes(make_model, classes: tuple[str, ...]) -> None:
    model = make_model(classes=classes)
    asked = model.domain.trial(model.configuration, None)
    assert len(model.generate(**asked, steps=1).samples) == 4 * (len(classes) or 4)


@pytest.mark.parametrize("largest", [2, 100, 127])
def test_a_mask_that_is_neither_black_nor_white_anywhere(largest: int) -> None:
    with pytest.raises(InputError, match="paints nothing and is not black") as caught:
        to_mask(Image.new("L", (8, 8), largest), 8, 8, "mask")
    assert str(largest) in str(caught.value.value)
    assert to_mask(Image.new("L", (8, 8), 128), 8, 8, "mask").all()
    assert not to_mask(Image.new("L", (8, 8), 0), 8, 8, "mask").any()


def test_values_that_are_no_pictures() -> None:
    half = torch.full((8, 8), 0.5, dtype=torch.bfloat16)
    assert np.asarray(as_picture(half, "image")).max() in (127, 128)
    for value in (np.zeros((0, 0)), np.zeros((0, 8, 3), np.uint8), torch.zeros(3, 0, 8)):
        with pytest.raises(InputError, match="no shape of a picture"):
            as_picture(value, "image")
    holes = np.ma.masked_array(np.zeros((8, 8), np.uint8), mask=np.eye(8, dtype=bool))
    with pytest.raises(InputError, match="lacks values"):
        as_picture(holes, "image")
