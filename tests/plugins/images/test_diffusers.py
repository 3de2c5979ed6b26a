"""A diffusers folder makes the same image as diffusers itself, from the same noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import unnoise
from unnoise.compat import without_broken_torchaudio
from unnoise.errors import BundleError, ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Diffusion, grids, walk
from unnoise.spaces import Layout

diffusers = pytest.importorskip("diffusers")
without_broken_torchaudio()

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
        {"prediction_type": "epsilon", "rescale_betas_zero_snr": True},
        {"rescale_betas_zero_snr": 1, "prediction_type": "v_prediction"},
        {"clip_sample": 1},
        {"beta_start": None},
        {"beta_end": "0.02"},
        {"beta_end": 2.0},
        {"steps_offset": "1"},
        {"steps_offset": True},
        {"num_train_timesteps": 10.5},
        {"trained_betas": 3},
        {"beta_schedule": ["linear"]},
        {"prediction_type": "flow_prediction"},
        {"beta_schedule": "sigmoid"},
        {"timestep_spacing": "karras"},
        {"variance_type": "learned"},
        {"solver_order": 2},
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
    path = edit(folder, _class_name="FlowMatchEulerDiscreteScheduler")
    with pytest.raises(ConfigError, match="FlowMatchEulerDiscreteScheduler"):
        DiffusersScheduler.read(path)
    edit(folder, _class_name="DDIMScheduler")
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": "VQModel"}))
    with pytest.raises(ConfigError, match="VQModel"):
        load_diffusers(folder)


def test_a_pipeline_with_other_parts_is_refused(saved: Callable[..., tuple[Path, Any]]) -> None:
    folder, _ = saved()
    index = folder / "model_index.json"
    index.write_text(
        json.dumps(
            {
                "_class_name": "LDMPipeline",
                "_diffusers_version": "0.30",
                "vqvae": ["diffusers", "VQModel"],
                "unet": ["diffusers", "UNet2DModel"],
                "scheduler": ["diffusers", "DDIMScheduler"],
            }
        )
    )
    with pytest.raises(ConfigError, match=r"LDMPipeline.*vqvae"):
        load_diffusers(folder)
    index.write_text(
        json.dumps(
            {
                "_class_name": "DDIMPipeline",
                "unet": ["diffusers", "UNet2DModel"],
                "scheduler": ["diffusers", "DDIMScheduler"],
            }
        )
    )
    assert load_diffusers(folder).configuration.channels == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"sample_size": "16"},
        {"sample_size": 15},
        {"sample_size": 4096},
        {"sample_size": [16]},
        {"sample_size": None},
        {"in_channels": 4, "out_channels": 4},
        {"out_channels": 3},
        {"num_class_embeds": "many"},
        {"class_embed_type": "timestep"},
        {"time_embedding_type": "fourier"},
    ],
)
def test_networks_that_cannot_be_used_are_named(
    saved: Callable[..., tuple[Path, Any]], fields: dict[str, object]
) -> None:
    folder, _ = saved()
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))
    with pytest.raises(ConfigError):
        load_diffusers(folder)


@pytest.mark.parametrize(
    ("spacing", "offset", "one"),
    [
        ("leading", 0, True),
        ("leading", 1, False),
        ("trailing", 0, True),
        ("trailing", 0, False),
        ("linspace", 0, True),
    ],
)
@pytest.mark.parametrize("clip", [True, False])
def test_generate_is_diffusers_own_loop(
    saved: Callable[..., tuple[Path, Any]],
    unet: Any,
    spacing: str,
    offset: int,
    one: bool,
    clip: bool,
) -> None:
    """As its DDIMScheduler is by default: clipped pictures, the noise as predicted. The steps are
    equal, where diffusers goes to the next time of its own grid."""
    steps = 10 if spacing != "linspace" else 40
    folder, scheduler = saved(
        num_train_timesteps=40,
        beta_end=0.2,
        clip_sample=clip,
        timestep_spacing=spacing,
        steps_offset=offset,
        set_alpha_to_one=one,
    )
    model = load_diffusers(folder)
    x = model.denoiser.kernel.prior(Layout.dense(2, (1, SIZE, SIZE))).sample(NoiseSource(3, [0, 1]))
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = unet(x, t, class_labels=torch.tensor([2, 2])).sample
            x = scheduler.step(output, t, x).prev_sample
    out = model.generate(num_samples=2, label=2, steps=steps, seed=3)
    # up to forty float32 steps, a clip in each
    torch.testing.assert_close(out.states, x, atol=TOLERANCE, rtol=10 * TOLERANCE)
    again = model.generate(num_samples=2, label=2, seed=3, steps=steps, grid=out.provenance["grid"])
    assert torch.equal(again.states, out.states)


def test_zero_terminal_snr(saved: Callable[..., tuple[Path, Any]], unet: Any) -> None:
    folder, scheduler = saved(
        num_train_timesteps=40,
        beta_end=0.2,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        clip_sample=False,
    )
    model = load_diffusers(folder)
    x = model.denoiser.kernel.prior(Layout.dense(1, (1, SIZE, SIZE))).sample(NoiseSource(0, [0]))
    scheduler.set_timesteps(10)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t, class_labels=torch.tensor([1])).sample, t, x).prev_sample
    out = model.generate(label=1, steps=10)
    torch.testing.assert_close(out.states, x, atol=2e-3, rtol=2e-3)  # alpha_T is 2^-12, not 0


def test_a_learned_variance(tmp_path: Path) -> None:
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    ).eval()
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=20, beta_end=0.3, variance_type="learned_range", clip_sample=False
    )
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(tmp_path)
    model = load_diffusers(tmp_path)
    layout = Layout.dense(1, (3, 8, 8))
    x = torch.randn(1, 3, 8, 8)
    t = 11
    with torch.no_grad():
        law = model.denoiser(x, (t + 1) / 20, layout)
        back = model.denoiser.kernel.reverse(x, law, (t + 1) / 20, t / 20, layout)
        output = unet(x, t).sample
    values = output[:, 3:]
    expected = scheduler._get_variance(t, predicted_variance=values, variance_type="learned_range")
    torch.testing.assert_close(2 * back.std.log(), expected, atol=1e-3, rtol=1e-3)
    assert len(model.generate(steps=5).samples) == 1


def test_what_is_saved_loads_and_trains(
    saved: Callable[..., tuple[Path, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, _ = saved(num_train_timesteps=40, beta_end=0.2)
    model = load_diffusers(folder)
    place = tmp_path_factory.mktemp("bundle")
    again = unnoise.load(model.save(place))
    request = {"label": [0, 2], "steps": 5, "seed": 4}
    assert torch.equal(again.generate(**request).states, model.generate(**request).states)
    assert again.generate(**request).provenance["grid"] == (
        "strided(spacing=leading, offset=0, end=0)"
    )


def test_the_caller_keeps_its_random_numbers(saved: Callable[..., tuple[Path, Any]]) -> None:
    folder, _ = saved()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_diffusers(folder)
    assert torch.equal(torch.rand(2), expected)


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
