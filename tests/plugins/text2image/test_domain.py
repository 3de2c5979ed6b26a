"""Requests: words to pictures through both stages, and everything that is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unnoise
from unnoise.domain import Draw
from unnoise.engine.options import Options
from unnoise.errors import ConfigError, InputError
from unnoise.model import Model
from unnoise.testing import check_domain
from unnoise_text2image.cascade import joined
from unnoise_text2image.domain import Text2Image
from unnoise_text2image.guidance import Guided


def pixels(samples: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(sample) for sample in samples]).astype(int)


def test_the_plugin_module_is_light() -> None:
    words = (
        "import sys, unnoise_text2image.plugin as p; s, = p.unnoise_domains()"
        "; assert s.name == 'text2image'"
        "; print([m for m in ('torch', 'PIL', 'numpy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_prompts_make_pictures_through_both_stages(model: Model) -> None:
    out = model.generate(
        prompt=["red apple", "blue flag"], num_samples=2, steps=3, upsampler_steps=2
    )
    assert [sample.size for sample in out.samples] == [(16, 16)] * 4
    assert {sample.mode for sample in out.samples} == {"RGB"}
    assert [sample.info["prompt"] for sample in out.samples] == ["red apple"] * 2 + [
        "blue flag"
    ] * 2
    # both branches at the base's 3 steps, one at the upsampler's 2, whose scale is 1
    assert out.provenance["evaluations"] == 3 * 2 + 2
    again = model.generate(prompt="red apple", num_samples=2, steps=3, upsampler_steps=2)
    assert np.abs(pixels(out.samples[:2]) - pixels(again.samples)).max() <= 1


def test_each_stage_makes_its_own_size(make_model: Callable[..., Model], picture) -> None:
    base = make_model(stage="base").generate(prompt="red apple", num_samples=1, steps=2)
    assert base.samples[0].size == (8, 8)
    small = picture.resize((8, 8))
    upsampler = make_model(stage="upsampler")
    out = upsampler.generate(prompt="red apple", image=[small, small], num_samples=1, steps=2)
    assert [sample.size for sample in out.samples] == [(16, 16)] * 2
    with pytest.raises(InputError, match="image"):
        upsampler.generate(prompt="red apple", num_samples=1, steps=2)
    with pytest.raises(InputError, match="as they are"):
        upsampler.generate(image=small, strength=0.5, num_samples=1, steps=2)


def test_the_tasks_have_their_own_denoisers_sizes_and_steps(model: Model) -> None:
    request = Text2Image.Request(
        prompt="red apple", negative_prompt="flag", guidance_scale=4, upsampler_steps=7
    )
    inputs = Text2Image().prepare(request, model, Options(num_samples=1))
    plan = Text2Image().plan(inputs, model, [Draw(0, 0, 0)])
    first = next(plan)
    second = plan.send(torch.zeros(1, 3, 8, 8))
    assert isinstance(first.denoiser, Guided)
    assert first.denoiser.denoiser is model.denoiser.base
    assert second.denoiser.denoiser is model.denoiser.upsampler
    assert (first.layout.shape, second.layout.shape) == ((1, 3, 8, 8), (1, 3, 16, 16))
    assert (first.steps, second.steps) == (None, 7)
    assert (first.denoiser.guidance.scale, second.denoiser.guidance.scale) == (4, 1)
    # the small picture is 0, so what the upsampler sees is noise of the strength asked for
    assert 0.05 < float(second.condition["low"].std()) < 0.15
    assert not torch.equal(first.condition["ids"], first.condition["negative_ids"])


def test_what_the_encoder_does_not_see_is_said(model: Model) -> None:
    def notes(prompt: str) -> list[str]:
        asked = {"num_samples": 1, "steps": 1, "upsampler_steps": 1}
        return model.generate(prompt=prompt, **asked).provenance.get("notes", [])

    assert notes("red apple") == []
    assert "empty" in notes(" ")[0]
    assert "'flag in black'" in notes("red apple in blue heart in green flag in black")[0]
    assert "'日'" in notes("red 日")[0]
    assert "'plea'" in notes("red plea")[0]


def test_painting_keeps_what_is_black_in_the_mask(model: Model, picture) -> None:
    mask = Image.new("L", (16, 16), 0)
    mask.paste(255, (0, 0, 16, 8))
    out = model.generate(
        prompt="red apple", image=picture, mask=mask, num_samples=2, steps=3, upsampler_steps=3
    )
    for sample in out.samples:
        found = np.asarray(sample).astype(int)
        assert np.abs(found[8:] - np.asarray(picture)[8:]).max() <= 1
        assert np.abs(found[:8] - np.asarray(picture)[:8]).max() > 8


def test_a_start_is_the_small_picture_with_noise(model: Model, picture) -> None:
    request = Text2Image.Request(prompt="red apple", image=picture, strength=0.5)
    inputs = Text2Image().prepare(request, model, Options(num_samples=1))
    task = next(Text2Image().plan(inputs, model, [Draw(0, 0, 0)]))
    kernel = model.denoiser.kernel
    assert float(kernel.schedule.sigma(task.start.t)) == pytest.approx(0.5, abs=1e-3)
    wanted = np.asarray(picture).reshape(8, 2, 8, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(task.start.value[0].numpy(), wanted / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"guidance_interval": (0.9, 0.1)}, "smaller one first"),
        ({"guidance_rescale": 1.5}, "guidance_rescale"),
        ({"strength": 0.5}, "without image"),
        ({"image": "P"}, "without mask"),
        ({"image": "P", "mask": Image.new("L", (8, 8))}, "different sizes"),
        ({"image": Image.new("RGB", (8, 8)), "strength": 0.5}, "another size"),
        ({"prompt": []}, "one length"),
        ({"prompt": ["a", "b"], "negative_prompt": ["a", "b", "c"]}, "one length"),
        ({"promt": "a"}, "prompt"),
    ],
)
def test_bad_requests_are_refused(model: Model, picture, request_, message: str) -> None:
    asked = {name: picture if value == "P" else value for name, value in request_.items()}
    with pytest.raises(InputError, match=message):
        model.generate(num_samples=1, steps=1, **asked)


@pytest.mark.parametrize("stage", ["base", "upsampler"])
def test_a_stage_trains_and_is_saved(
    make_model: Callable[..., Model], folder: Path, tmp_path: Path, stage: str
) -> None:
    options = dict(make_model().configuration) | {"stage": stage}  # a whole configuration
    run = tmp_path / stage
    trained = unnoise.train(
        Text2Image(), folder, run, steps=2, batch_size=4, samples_every=2, **options
    )
    assert (run / "samples" / "step-00000002").is_dir()
    assert trained.card["validation"]["validation_loss"] > 0
    loaded = unnoise.load(run)
    assert loaded.configuration == trained.configuration


def test_two_stages_become_a_cascade(make_model: Callable[..., Model], tmp_path: Path) -> None:
    base, upsampler = make_model(stage="base"), make_model(stage="upsampler", augmentation=0.3)
    both = joined(base, upsampler)
    assert (both.configuration.stage, both.configuration.augmentation) == ("cascade", 0.3)
    both.save(tmp_path / "both")
    asked = {"prompt": "red apple", "num_samples": 1, "steps": 2, "upsampler_steps": 2}
    found = unnoise.load(tmp_path / "both").generate(**asked)
    assert np.array_equal(pixels(found.samples), pixels(both.generate(**asked).samples))
    with pytest.raises(ConfigError, match="a base and an upsampler"):
        joined(upsampler, base)
    with pytest.raises(ConfigError, match="differ"):
        joined(base, make_model(stage="upsampler", schedule="linear"))


def test_a_cascade_is_not_trained_at_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one by one"):
        unnoise.train(Text2Image(), folder, tmp_path / "run", stage="cascade", steps=1)


def test_conformance(model: Model, folder: Path) -> None:
    check_domain(Text2Image(), model=model, data=folder)
