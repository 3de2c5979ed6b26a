"""A diffusers folder of latent diffusion: the network diffuses the codes of the autoencoder beside
it, as the pipelines of diffusers do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unnoise
from unnoise.compat import without_broken_torchaudio
from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout

without_broken_torchaudio()
diffusers = pytest.importorskip("diffusers")

CODES, SIDE, LENGTH, STEPS = 8, 16, 10, 6
SHAPE = (4, CODES, CODES)
DOWN, UP = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")


@pytest.fixture(scope="module")
def parts(clip: dict[str, Any]) -> dict[str, Any]:
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=CODES,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=DOWN,
        up_block_types=UP,
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    with torch.no_grad():  # the prompt matters
        for name, value in unet.named_parameters():
            if "attn2" in name:
                value.mul_(3)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.7,
    )
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=40, beta_end=0.2, clip_sample=False, steps_offset=1
    )
    return {**clip, "unet": unet.eval(), "vae": vae.eval(), "scheduler": scheduler}


@pytest.fixture
def folder(parts: dict[str, Any], tmp_path: Path) -> Path:
    """As a pipeline writes it, without a safety checker."""
    for name, part in parts.items():
        part.save_pretrained(tmp_path / "model" / name)
    index = {name: ["diffusers", type(part).__name__] for name, part in parts.items()}
    index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
    told = json.dumps({"_class_name": "StableDiffusionPipeline", **index})
    (tmp_path / "model" / "model_index.json").write_text(told)
    return tmp_path / "model"


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_same_picture_as_diffusers(folder: Path, parts: dict[str, Any], scale: float) -> None:
    model = unnoise.load(folder)
    prior = model.denoiser.kernel.prior(Layout.dense(2, SHAPE))
    x, scheduler = prior.sample(NoiseSource(3, [0, 1])), parts["scheduler"]
    scheduler.set_timesteps(STEPS)

    def states(prompts: list[str]) -> torch.Tensor:
        told = parts["tokenizer"](
            prompts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        )
        return parts["text_encoder"](told.input_ids)[0]

    with torch.no_grad():
        c, u = states(["red", "blue"]), states(["", ""])
        for t in scheduler.timesteps:
            away = parts["unet"](x, t, encoder_hidden_states=u).sample
            told = parts["unet"](x, t, encoder_hidden_states=c).sample
            x = scheduler.step(away + scale * (told - away), t, x).prev_sample
        pictures = parts["vae"].decode(x / 0.7).sample
    out = model.generate(
        prompt=["red", "blue"], guidance_scale=scale, num_samples=1, steps=STEPS, seed=3
    )
    torch.testing.assert_close(out.states, x, atol=1e-4, rtol=1e-4)
    levels = (127.5 * (pictures + 1)).round().clamp(0, 255).permute(0, 2, 3, 1)
    for sample, expected in zip(out.samples, levels, strict=True):
        found = torch.from_numpy(np.array(sample)).float()
        assert sample.size == (SIDE, SIDE)
        assert (found - expected).abs().max() <= 1  # of 255, where a value lies between two


def test_saved_varied_painted_and_trained(folder: Path, tmp_path: Path) -> None:
    model = unnoise.load(folder)
    model.save(tmp_path / "bundle")
    same = unnoise.load(tmp_path / "bundle")
    asked = {"prompt": "red", "num_samples": 1, "steps": 2}
    first, second = model.generate(**asked), same.generate(**asked)
    torch.testing.assert_close(second.states, first.states, atol=1e-5, rtol=0)
    assert np.array_equal(np.array(second.samples[0]), np.array(first.samples[0]))

    near = same.generate(**asked, image=picture(), strength=0.05).states
    far = same.generate(**asked, image=picture(), strength=0.9).states
    with torch.no_grad():
        pixels = torch.from_numpy(np.array(picture())).permute(2, 0, 1)[None].float()
        codes, _ = same.codec.embed(pixels, Layout.dense(1, (3, SIDE, SIDE)))
    assert (near - codes).abs().mean() < 0.2 * (far - codes).abs().mean()

    mask = Image.new("L", (SIDE, SIDE), 255)
    mask.paste(0, (0, 0, 7, SIDE))  # codes of which no pixel is painted: the first three columns
    painted = same.generate(**asked, image=picture(), mask=mask).states
    torch.testing.assert_close(painted[..., :3], codes[..., :3], atol=1e-5, rtol=0)
    assert (painted[..., 3:] - codes[..., 3:]).abs().min() > 1e-4

    (tmp_path / "data").mkdir()
    for k in range(4):
        picture().save(tmp_path / "data" / f"{k}.png")
        (tmp_path / "data" / f"{k}.txt").write_text("red")
    trained = unnoise.train(
        "text2image",
        tmp_path / "data",
        tmp_path / "run",
        initial=same,
        steps=2,
        batch_size=2,
        **dict(same.configuration),
    )
    before, after = same.codec.state_dict(), trained.codec.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert trained.generate(**asked).samples[0].size == (SIDE, SIDE)


@pytest.mark.parametrize(
    ("file", "fields", "said"),
    [
        ("vae/config.json", {"scaling_factor": None}, "scaled"),
        ("vae/config.json", {"wibble": 1}, "wibble"),
        ("unet/config.json", {"in_channels": 3, "out_channels": 3}, "channels"),
    ],
)
def test_what_does_not_fit_is_named(folder: Path, file: str, fields: Any, said: str) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(ConfigError, match=said):
        unnoise.load(folder)
