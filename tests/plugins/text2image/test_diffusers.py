"""A folder with a conditional UNet, a text encoder and a tokenizer makes the picture of diffusers'
own loop, from the same noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import unnoise
from unnoise.compat import without_broken_torchaudio
from unnoise.errors import BundleError, ConfigError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout

diffusers = pytest.importorskip("diffusers")
without_broken_torchaudio()

from transformers import T5Config, T5EncoderModel  # noqa: E402

SIDE, LENGTH, STEPS = 16, 10, 8
PROMPTS = ["red apple", "a very long prompt that is cut"]


@pytest.fixture(scope="module")
def parts(clip: dict[str, Any]) -> dict[str, Any]:
    """A pixel UNet, a text encoder and a tokenizer, with random weights."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    with torch.no_grad():  # the prompt matters
        for name, value in unet.named_parameters():
            if "attn2" in name:
                value.mul_(2)
    return {**clip, "unet": unet.eval()}


@pytest.fixture
def saved(parts: dict[str, Any], tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    """saved(**scheduler fields) -> (folder, diffusers' scheduler)."""

    def save(**fields: object) -> tuple[Path, Any]:
        scheduler = diffusers.DDIMScheduler(num_train_timesteps=40, beta_end=0.2, **fields)
        for name, part in {**parts, "scheduler": scheduler}.items():
            part.save_pretrained(tmp_path / name)
        return tmp_path, scheduler

    return save


def edit(folder: Path, file: str, **fields: object) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def states(parts: dict[str, Any], prompts: list[str]) -> torch.Tensor:
    told = parts["tokenizer"](
        prompts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    return parts["text_encoder"](told.input_ids)[0]


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize(
    "fields",
    [
        {"clip_sample": False},
        {"clip_sample": True},
        {"clip_sample": True, "prediction_type": "v_prediction", "steps_offset": 1},
    ],
)
def test_same_picture_as_diffusers(
    saved: Callable[..., tuple[Path, Any]], parts: dict[str, Any], scale: float, fields: Any
) -> None:
    folder, scheduler = saved(**fields)
    model = unnoise.load(folder)
    assert model.domain.name == "text2image"
    prior = model.denoiser.kernel.prior(Layout.dense(2, (3, SIDE, SIDE)))
    x = prior.sample(NoiseSource(3, [0, 1]))
    scheduler.set_timesteps(STEPS)
    with torch.no_grad():
        c, u = states(parts, PROMPTS), states(parts, ["", "blue"])
        for t in scheduler.timesteps:
            away = parts["unet"](x, t, encoder_hidden_states=u).sample
            told = parts["unet"](x, t, encoder_hidden_states=c).sample
            x = scheduler.step(away + scale * (told - away), t, x).prev_sample
    out = model.generate(
        prompt=PROMPTS,
        negative_prompt=["", "blue"],
        guidance_scale=scale,
        num_samples=1,
        steps=STEPS,
        seed=3,
    )
    assert x.abs().max() > 0.1
    torch.testing.assert_close(out.states, x, atol=1e-4, rtol=1e-4)
    other = model.generate(prompt="b", num_samples=1, steps=STEPS, seed=3, guidance_scale=scale)
    assert (other.states - out.states[:1]).abs().max() > 1e-3
    assert "of the prompt it does not see" in out.provenance["notes"][0]


def test_it_is_saved_as_a_bundle_of_ours(
    saved: Callable[..., tuple[Path, Any]], tmp_path: Path
) -> None:
    folder, _ = saved()
    model = unnoise.load(folder)
    model.save(tmp_path / "bundle")
    asked = {"prompt": "red", "num_samples": 1, "steps": 2}
    found = unnoise.load(tmp_path / "bundle").generate(**asked)
    torch.testing.assert_close(found.states, model.generate(**asked).states, atol=1e-4, rtol=0)
    assert [sample.size for sample in found.samples] == [(SIDE, SIDE)]


def test_another_encoder(saved: Callable[..., tuple[Path, Any]], parts: dict[str, Any]) -> None:
    folder, _ = saved()
    torch.manual_seed(1)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    encoder = T5EncoderModel(T5Config(vocab_size=len(parts["tokenizer"]), **sizes)).eval()
    for file in (folder / "text_encoder").iterdir():
        file.unlink()
    encoder.save_pretrained(folder / "text_encoder")
    model = unnoise.load(folder)
    ids = torch.arange(LENGTH)[None]
    with torch.no_grad():
        found = model.denoiser.network.encoder(ids)[0]
        assert torch.equal(found, encoder(ids).last_hidden_state)
    assert model.generate(prompt="red", num_samples=1, steps=2).samples[0].size == (SIDE, SIDE)


@pytest.mark.parametrize(
    ("file", "fields", "error", "said"),
    [
        ("unet/config.json", {"wibble": 1}, ConfigError, "wibble"),
        ("unet/config.json", {"in_channels": 4, "out_channels": 4}, ConfigError, "3 channels"),
        ("unet/config.json", {"cross_attention_dim": 8}, ConfigError, "another width"),
        ("unet/config.json", {"num_class_embeds": 3}, ConfigError, "num_class_embeds"),
        ("unet/config.json", {"sample_size": [16, 16]}, ConfigError, "sample_size"),
        ("unet/config.json", {"auto_map": {}}, BundleError, "never run"),
        ("text_encoder/config.json", {"wibble": 1}, ConfigError, "wibble"),
        ("text_encoder/config.json", {"model_type": "gpt2"}, ConfigError, "gpt2"),
        ("text_encoder/config.json", {"auto_map": {}}, BundleError, "never run"),
        ("text_encoder/config.json", {"num_hidden_layers": 2}, BundleError, "weights"),
        ("tokenizer/tokenizer_config.json", {"auto_map": {}}, BundleError, "never run"),
        ("scheduler/scheduler_config.json", {"wibble": 1}, ConfigError, "wibble"),
    ],
)
def test_what_cannot_be_honoured_is_named(
    saved: Callable[..., tuple[Path, Any]], file: str, fields: Any, error: Any, said: str
) -> None:
    folder, _ = saved()
    edit(folder, file, **fields)
    with pytest.raises(error, match=said):
        unnoise.load(folder)


def test_other_parts_and_half_a_folder_are_refused(
    saved: Callable[..., tuple[Path, Any]],
) -> None:
    folder, _ = saved()
    names = ("unet", "scheduler", "text_encoder", "tokenizer", "safety_checker")
    parts = {name: ["diffusers", "X"] for name in names}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "LDM", **parts}))
    with pytest.raises(ConfigError, match=r"LDM.*safety_checker"):
        unnoise.load(folder)
    (folder / "model_index.json").unlink()
    (folder / "tokenizer").rename(folder / "elsewhere")
    with pytest.raises(BundleError, match="lacks tokenizer"):
        unnoise.load(folder)
