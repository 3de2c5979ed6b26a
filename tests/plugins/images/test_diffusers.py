"""A diffusers folder makes the same image as diffusers itself, from the same noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unnoise.errors import BundleError, ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Diffusion, grids, walk
from unnoise.spaces import Layout

diffusers = pytest.importorskip("diffusers")

from unnoise_images.diffusers_adapter import DiffusersScheduler, load_diffusers  # noqa: E402

STEPS = 10
SIZE = 16
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def unet() -> Any:
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=SIZE,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        num_class_embeds=3,
    ).eval()


@pytest.fixture
def saved(unet: Any, tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    """saved(**scheduler fields) -> (folder, diffusers' scheduler)."""

    def save(kind: str = "DDIMScheduler", **fields: object) -> tuple[Path, Any]:
        scheduler = getattr(diffusers, kind)(**fields)
        unet.save_pretrained(tmp_path / "unet", safe_serialization=True)
        scheduler.save_pretrained(tmp_path / "scheduler")
        return tmp_path, scheduler

    return save


def edit(folder: Path, **fields: object) -> Path:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return path


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(
    ("spacing", "offset", "steps"),
    [("leading", 0, STEPS), ("leading", 1, STEPS), ("trailing", 0, STEPS), ("linspace", 0, 40)],
)
def test_same_image_as_diffusers(
    saved: Callable[..., tuple[Path, Any]],
    unet: Any,
    prediction: str,
    clip: bool,
    spacing: str,
    offset: int,
    steps: int,
) -> None:
    folder, scheduler = saved(
        num_train_timesteps=40,
        beta_end=0.2,
        prediction_type=prediction,
        clip_sample=clip,
        timestep_spacing=spacing,
        steps_offset=offset,
    )
    noise = torch.randn(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 2])
    x = noise
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = unet(x, t, class_labels=labels).sample
            x = scheduler.step(output, t, x, use_clipped_model_output=clip).prev_sample
    model = load_diffusers(folder)
    times = DiffusersScheduler.read(folder / "scheduler" / "scheduler_config.json").times(steps)
    layout = Layout.dense(2, (1, SIZE, SIZE))
    with torch.no_grad():
        run = Diffusion(model.denoiser, layout, NoiseSource(0, [0, 1]), {"label": labels})
        *_, last = walk(DDIM(), run, noise, grids.custom(times))
    assert isinstance(last.x, torch.Tensor)
    assert x.abs().max() > 0.1
    torch.testing.assert_close(last.x, x, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(
    "fields",
    [
        {"beta_schedule": "scaled_linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"num_train_timesteps": 3, "trained_betas": [0.1, 0.2, 0.3]},
        {},
    ],
)
def test_tables_agree_with_diffusers(
    saved: Callable[..., tuple[Path, Any]], fields: dict[str, object]
) -> None:
    folder, scheduler = saved(**fields)
    schedule = DiffusersScheduler.read(folder / "scheduler" / "scheduler_config.json").schedule
    T = len(schedule.betas)
    alphas = torch.tensor([float(schedule.alpha((i + 1) / T)) ** 2 for i in range(T)])
    torch.testing.assert_close(alphas, scheduler.alphas_cumprod, atol=1e-6, rtol=1e-4)


def test_the_grid_may_end_at_the_first_noise_level(
    saved: Callable[..., tuple[Path, Any]],
) -> None:
    folder, _ = saved(set_alpha_to_one=False, steps_offset=1)
    times = DiffusersScheduler.read(folder / "scheduler" / "scheduler_config.json").times(4)
    assert times == [0.752, 0.502, 0.252, 0.002, 0.001]


def test_generate_from_a_diffusers_model(saved: Callable[..., tuple[Path, Any]]) -> None:
    folder, _ = saved("DDPMScheduler")
    model = load_diffusers(folder)
    out = model.generate(label=[0, 2], steps=3, sampler="ancestral")
    assert [sample.size for sample in out.samples] == [(SIZE, SIZE)] * 2
    with pytest.raises(InputError, match="needs a label"):
        model.generate(steps=2)
    with pytest.raises(InputError, match="out of range"):
        model.generate(label=3, steps=2)


@pytest.mark.parametrize(
    "fields",
    [
        {"wibble": 1},
        {"thresholding": True},
        {"rescale_betas_zero_snr": True},
        {"prediction_type": "flow_prediction"},
        {"beta_schedule": "sigmoid"},
        {"timestep_spacing": "karras"},
        {"variance_type": "learned_range"},
        {"steps_offset": -1},
        {"num_train_timesteps": 0},
        {"clip_sample_range": -1.0},
        {"trained_betas": [0.1, 0.2]},
    ],
)
def test_fields_that_cannot_be_honoured_are_named(
    saved: Callable[..., tuple[Path, Any]], fields: dict[str, object]
) -> None:
    folder, _ = saved()
    path = edit(folder, **fields)
    with pytest.raises(ConfigError, match=next(iter(fields))):
        DiffusersScheduler.read(path)


def test_other_schedulers_and_networks_are_refused(
    saved: Callable[..., tuple[Path, Any]],
) -> None:
    folder, _ = saved()
    path = edit(folder, _class_name="EulerDiscreteScheduler")
    with pytest.raises(ConfigError, match="EulerDiscreteScheduler"):
        DiffusersScheduler.read(path)
    edit(folder, _class_name="DDIMScheduler")
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": "VQModel"}))
    with pytest.raises(ConfigError, match="VQModel"):
        load_diffusers(folder)


def test_damaged_folders(saved: Callable[..., tuple[Path, Any]], unet: Any) -> None:
    folder, _ = saved()
    with pytest.raises(BundleError, match=r"no scheduler_config\.json"):
        load_diffusers(folder / "nowhere")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(unet.state_dict(), folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(BundleError, match="no loadable"):  # a pickle is not read
        load_diffusers(folder)
    (folder / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        load_diffusers(folder)
