"""A prior over a diffusers folder: trained through it, saved, loaded without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import unnoise
from unnoise.compat import without_broken_torchaudio
from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise.objectives import Networks
from unnoise.spaces import tensor
from unnoise_latent.adapters import load_autoencoder_kl
from unnoise_latent.adopted import over_autoencoder_kl

without_broken_torchaudio()
diffusers = pytest.importorskip("diffusers")

SMALL = {"prior_width": 16, "prior_layers": 1, "held_out": 2}
TRAINING = {"steps": 3, "batch_size": 4, "bound_samples": 2, "bound_evaluations": 2, "warmup": 1}


@pytest.fixture
def kl(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=3,
        norm_num_groups=4,
        sample_size=12,
        scaling_factor=0.8,
        shift_factor=0.1,
    )
    network.save_pretrained(tmp_path / "kl", safe_serialization=True)
    return tmp_path / "kl"


def test_a_prior_is_trained_through_it_and_what_is_saved_loads(
    kl: Path, folder: Path, tmp_path: Path
) -> None:
    start = over_autoencoder_kl(kl, folder, **SMALL)
    before = load_autoencoder_kl(kl).state_dict()
    model = unnoise.train(
        "latent", folder, tmp_path / "run", initial=start, **dict(start.configuration), **TRAINING
    )
    shutil.rmtree(kl)
    model.save(tmp_path / "saved")
    for name in ("run", "saved"):
        loaded = unnoise.load(tmp_path / name)
        held = Networks(loaded.denoiser, loaded.codec).state_dict()
        for key, value in Networks(model.denoiser, model.codec).state_dict().items():
            assert torch.equal(held[key], value)
        for key, value in before.items():  # the autoencoder stood still
            assert torch.equal(loaded.codec.state_dict()[key], value)
        out = loaded.generate(label=[0, 1], num_samples=1, steps=2)
        assert all(isinstance(s, Image.Image) and s.size == (12, 10) for s in out.samples)
        assert tensor(out.states).shape == (2, 3, 5, 6)
    fresh = start.denoiser.state_dict()
    moved = [not torch.equal(v, fresh[k]) for k, v in model.denoiser.state_dict().items()]
    assert any(moved)
    items = loaded.domain.dataset(folder, loaded.configuration, "validation")
    bound = loaded.bound([items[0], items[1]], steps=None, evaluations=4)
    assert torch.isfinite(bound.total).all()


def test_what_is_missed_is_the_spread(kl: Path, folder: Path) -> None:
    """Root mean square over all pictures at once; they are too few to be chosen among."""
    start = over_autoencoder_kl(kl, folder, **SMALL)
    spread = start.configuration.autoencoder.spread
    items = start.domain.dataset(folder, start.configuration, "train")
    batch = start.domain.collate([items[k] for k in range(len(items))])
    noise = NoiseSource(0, range(len(items)))
    z, layout = start.codec.embed(batch.x0, batch.layout, None, noise)
    off = tensor(start.codec.decode(z, layout).mode) - tensor(batch.x0)
    assert spread == pytest.approx(float(off.square().mean().sqrt()), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "lsgm"}, "does not learn"),
        ({"likelihood": "logistic"}, "does not learn"),
        ({"picture_channels": 3}, "1 channels"),
        ({"height": 11, "width": 12, "fit": "resize"}, "multiples of 2"),
    ],
)
def test_what_does_not_fit_it(
    kl: Path, folder: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        over_autoencoder_kl(kl, folder, **SMALL, **options)
