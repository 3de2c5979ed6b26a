"""Training from a model that is there, and on pictures that are changed a little each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import unnoise
from unnoise.cli import main
from unnoise.errors import ConfigError, InputError
from unnoise.model import Model
from unnoise_images.augment import augmented
from unnoise_images.data import read
from unnoise_images.domain import LABELS

TINY = {"steps": 2, "batch_size": 4, "samples_every": 0, "held_out": 2, "bound_samples": 0}


def table(model: Model) -> torch.Tensor:
    return dict(model.denoiser.named_parameters())[LABELS.removeprefix("denoiser.")]


def test_classes_keep_what_is_known_of_their_names(
    folder: Path, tmp_path: Path, make_model: Callable[..., Model]
) -> None:
    first = make_model(classes=("dog", "eel"))
    model = unnoise.train(
        "images", folder, tmp_path / "run", initial=first, learning_rate=1e-9, **TINY
    )
    assert model.configuration.classes == ("cat", "dog")
    assert model.configuration.widths == first.configuration.widths
    eel_less = table(first)[[2, 0, 2]]  # cat begins as "no label"
    torch.testing.assert_close(table(model), eel_less, atol=1e-6, rtol=0)
    assert len(model.generate(num_samples=1, steps=2, label="cat").samples) == 1


def test_pictures_without_classes_train_a_model_with_them(
    folder: Path, tmp_path: Path, make_model: Callable[..., Model]
) -> None:
    first = make_model()
    model = unnoise.train("images", folder / "cat", tmp_path / "run", initial=first, **TINY)
    assert model.configuration.classes == ()
    assert table(model).shape == (1, table(first).shape[1])


def test_pictures_of_another_size_are_refused(
    folder: Path, tmp_path: Path, make_model: Callable[..., Model]
) -> None:
    first = make_model(height=16, width=16)
    with pytest.raises(InputError, match="fit"):
        unnoise.train("images", folder, tmp_path / "run", initial=first, **TINY)
    model = unnoise.train("images", folder, tmp_path / "run", initial=first, fit="resize", **TINY)
    assert model.configuration.size == (1, 16, 16)


def test_from_the_command_line(
    folder: Path, tmp_path: Path, make_model: Callable[..., Model], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_model().save("start")
    train = ["train", "images", "--out", "run"]
    words = [*train, "--data", str(folder), "--initial", "start", "--steps", "2"]
    words += ["--batch-size", "4", "--samples-every", "1", "--flip", "--shift", "2"]
    assert main(words) == 0
    assert (tmp_path / "run" / "samples" / "step-00000001" / "preview.html").is_file()
    assert main([*train, "--resume", "--steps", "3"]) == 0
    model = unnoise.load("run")
    assert model.configuration.flip
    assert model.card["training"]["step"] == 3
    assert model.card["training"]["plans"] == [[0, 2], [2, 3]]
    raw = unnoise.load("run/checkpoints")
    average = unnoise.load("run/checkpoints/step-00000003/average.safetensors")
    assert torch.equal(table(average), table(model))
    assert not torch.equal(table(raw), table(model))
    assert main(["generate", "images", "--model", "run/checkpoints", "--steps", "2"]) == 0
    image = str(next((folder / "cat").iterdir()))
    vary = ["generate", "images", "--model", "run", "--image", image, "--strength", "0.5"]
    assert main([*vary, "--num-samples", "2", "--steps", "4", "--out", "varied"]) == 0
    assert len(list((tmp_path / "varied").glob("*.png"))) == 2


def test_flips_and_shifts() -> None:
    picture = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 4)
    torch.manual_seed(0)
    seen = {augmented(picture, True, 0).numpy().tobytes() for _ in range(30)}
    assert seen == {p.contiguous().numpy().tobytes() for p in (picture, picture.flip(-1))}
    padded = torch.nn.functional.pad(picture.float()[None], (1, 1, 1, 1), mode="replicate")[0]
    windows = {
        padded[:, y : y + 3, x : x + 4].byte().contiguous().numpy().tobytes()
        for y in range(3)
        for x in range(3)
    }
    moved = {augmented(picture, False, 1).contiguous().numpy().tobytes() for _ in range(200)}
    assert moved == windows
    assert augmented(picture, False, 0) is picture


def test_only_the_training_part_is_changed(folder: Path, make_model: Callable[..., Model]) -> None:
    configuration = make_model(held_out=4, flip=True, shift=3).configuration
    assert (read(folder, configuration, "train").shift) == 3
    held_out = read(folder, configuration, "validation")
    assert not held_out.flip
    assert held_out.shift == 0


def test_options_that_make_another_network_are_named(
    folder: Path, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    """In place of the names of fifty weights alone."""
    once = {"steps": 1, "batch_size": 2, "quiet": True, "fit": "resize"}
    initial = make_model()
    other = tuple(width + 8 for width in initial.configuration.widths)
    with pytest.raises(ConfigError, match=r"leave out .*: widths$"):
        unnoise.train("images", folder, tmp_path / "run", initial=initial, widths=other, **once)
