"""Which pictures `unnoise unusual` looks at, and by which names."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unnoise.errors import InputError
from unnoise_images.configuration import Configuration
from unnoise_images.domain import Images


def test_every_picture_by_its_file_and_as_it_is(tmp_path):
    for name, value in (("2/b.png", 9), ("2/a.png", 7), ("0/c.png", 5)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        pixels = np.zeros((8, 8), np.uint8)
        pixels[0, 0] = value
        Image.fromarray(pixels).save(path)
    settings = Configuration(
        height=8, width=8, channels=1, classes=("0", "1", "2"), held_out=500, shift=3, flip=True
    )
    found = Images().things(tmp_path, settings)
    assert [name.rstrip("'").rsplit("/", 2)[1:] for name, _ in found] == [
        ["0", "c.png"],
        ["2", "a.png"],
        ["2", "b.png"],
    ]
    assert [(int(picture[0, 0, 0]), label) for _, (picture, label) in found] == [
        (5, 0),
        (7, 2),
        (9, 2),
    ]
    with pytest.raises(InputError, match="folder with the name of a class"):
        Images().things(tmp_path / "2", settings)
    plain = settings.model_copy(update={"classes": ()})
    assert len(Images().things(tmp_path / "2", plain)) == 2
