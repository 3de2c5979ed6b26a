"""Models go back to diffusers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import unnoise
from unnoise.compat import without_broken_torchaudio
from unnoise.errors import InputError
from unnoise_images.diffusers_adapter import load_diffusers, save_diffusers

without_broken_torchaudio()
diffusers = pytest.importorskip("diffusers")


def written(folder, classes=None, **scheduler):
    torch.manual_seed(0)
    diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=classes,
    ).save_pretrained(folder / "unet")
    diffusers.DDIMScheduler(clip_sample=False, **scheduler).save_pretrained(folder / "scheduler")
    return folder


def pictures_of(pipeline):
    generator = torch.Generator().manual_seed(3)
    return pipeline(
        batch_size=2, generator=generator, num_inference_steps=4, output_type="np"
    ).images


def test_diffusers_draws_the_same_from_what_comes_back(tmp_path):
    written(tmp_path / "theirs", prediction_type="v_prediction")
    unet = diffusers.UNet2DModel.from_pretrained(tmp_path / "theirs" / "unet")
    scheduler = diffusers.DDIMScheduler.from_pretrained(tmp_path / "theirs" / "scheduler")
    before = pictures_of(diffusers.DDIMPipeline(unet, scheduler))
    save_diffusers(load_diffusers(tmp_path / "theirs"), tmp_path / "ours")
    loaded = diffusers.DDIMPipeline.from_pretrained(tmp_path / "ours")
    np.testing.assert_array_equal(pictures_of(loaded), before)
    assert loaded.scheduler.config.prediction_type == "v_prediction"


def test_what_was_trained_comes_back(tmp_path):
    """Fine-tuned on pictures of one's own, saved as a bundle, loaded, and exported."""
    source = written(tmp_path / "theirs")
    for k in range(12):
        (tmp_path / "own").mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 20 * k, np.uint8)).save(tmp_path / "own" / f"{k}.png")
    unnoise.train(
        "images", tmp_path / "own", tmp_path / "run", initial=unnoise.load(source), steps=2,
        batch_size=4, held_out=2, bound_samples=0, device="cpu", learning_rate=1e-2,
    )  # fmt: skip
    model = unnoise.load(tmp_path / "run")
    folder = save_diffusers(model, tmp_path / "back")
    again = unnoise.load(folder)
    same = {"num_samples": 1, "steps": 3, "seed": 1}
    torch.testing.assert_close(
        again.generate(**same).states, model.generate(**same).states, rtol=1e-4, atol=1e-4
    )
    first = unnoise.load(source).generate(**same).states
    assert not torch.allclose(again.generate(**same).states, first)


def test_classes_have_no_pipeline(tmp_path):
    model = load_diffusers(written(tmp_path / "theirs", classes=3))
    folder = save_diffusers(model, tmp_path / "back")
    assert not (folder / "model_index.json").exists()
    assert json.loads((folder / "unet" / "config.json").read_text())["num_class_embeds"] == 3
    assert unnoise.load(folder).configuration.classes == ("0", "1", "2")


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="UNet2DModel"):
        save_diffusers(unnoise.load("images"), tmp_path / "back")
    model = load_diffusers(written(tmp_path / "theirs"))
    with pytest.raises(InputError, match="something in it"):
        save_diffusers(model, tmp_path / "theirs")
