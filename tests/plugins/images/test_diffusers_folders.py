"""Folders of diffusers that strangers have: every schedule, other classes, damaged weights."""

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

diffusers = pytest.importorskip("diffusers")
without_broken_torchaudio()

from unnoise_images.diffusers_adapter import load_diffusers  # noqa: E402

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


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("steps", [10, 1000])
def test_zero_terminal_snr_of_every_schedule(
    saved: Callable[..., tuple[Path, Any]], schedule: str, steps: int
) -> None:
    folder, scheduler = saved(
        num_train_timesteps=steps,
        beta_schedule=schedule,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
    )
    found = load_diffusers(folder).denoiser.kernel.schedule
    times = torch.arange(1, steps, dtype=torch.float64) / steps  # all but the last, which is 0
    torch.testing.assert_close(
        found.alpha(times) ** 2, scheduler.alphas_cumprod[:-1].double(), atol=1e-6, rtol=1e-3
    )
    assert 0 < found.alpha(1.0) ** 2 < 1e-7


def test_classes_of_the_data_and_of_the_network(
    unet: Any, saved: Callable[..., tuple[Path, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A network that is there has its number of classes, or none."""
    folder, _ = saved(num_train_timesteps=40, beta_end=0.2)
    told = load_diffusers(folder)
    config = folder / "unet" / "config.json"
    plain = diffusers.UNet2DModel.from_config(
        json.loads(config.read_text()) | {"num_class_embeds": None}
    )
    plain.save_pretrained(folder / "unet", safe_serialization=True)
    untold = load_diffusers(folder)
    place = tmp_path_factory.mktemp("runs")
    once = {"steps": 1, "batch_size": 2, "quiet": True, "samples_every": 0, "bound_samples": 0}
    pairs = [(torch.rand(1, SIZE, SIZE), name) for name in ("cat", "dog") * 2]
    with pytest.raises(ConfigError, match="fixed number of classes, 3, and there are 2"):
        unnoise.train("images", pairs, place / "told", initial=told, **once)
    with pytest.warns(UserWarning, match="2 classes are not told to this network"):
        model = unnoise.train("images", pairs, place / "untold", initial=untold, **once)
    assert model.configuration.classes == ()
    assert len(unnoise.load(place / "untold").generate(steps=2).samples) == 1


def test_the_libraries_are_quiet_about_weights(
    saved: Callable[..., tuple[Path, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with a folder is one error and no page on stderr."""
    folder, _ = saved()
    config = folder / "unet" / "config.json"
    before = config.read_text()
    config.write_text(json.dumps(json.loads(before) | {"layers_per_block": 2}))
    with pytest.raises(BundleError, match="weights"):
        load_diffusers(folder)
    config.write_text(before)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(BundleError, match="holds no loadable"):
        load_diffusers(folder)
    assert not capfd.readouterr().err
