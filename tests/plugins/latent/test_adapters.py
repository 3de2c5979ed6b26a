"""Autoencoders of others: a diffusers folder agrees with diffusers, and what is wrong is named."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unnoise.codecs import Codec, DiagonalGaussian, Downsampled, FixedGaussian, Point
from unnoise.compat import without_broken_torchaudio
from unnoise.errors import BundleError, ConfigError, InputError, NonFiniteError, PluginError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, tensor
from unnoise.testing import check_codec
from unnoise_latent.adapters import KL, load_autoencoder_kl, modules, read_autoencoder_kl

without_broken_torchaudio()
diffusers = pytest.importorskip("diffusers")

SCALING, SHIFT = 0.7, -0.3
LAYOUT = Layout.dense(2, (1, 16, 24))


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        latent_channels=2,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=SCALING,
        shift_factor=SHIFT,
    ).eval()


@pytest.fixture
def folder(network: Any, tmp_path: Path) -> Path:
    network.save_pretrained(tmp_path / "kl", safe_serialization=True)
    return tmp_path / "kl"


def edited(folder: Path, drop: str = "", **fields: object) -> Path:
    path = folder / "config.json"
    content = json.loads(path.read_text()) | fields
    content.pop(drop, None)
    path.write_text(json.dumps(content))
    return folder


def pictures(layout: Layout = LAYOUT) -> Tensor:
    return NoiseSource(0, range(layout.batch)).normal(layout).tanh()


@pytest.mark.parametrize("under", [False, True])
def test_codes_and_pictures_are_those_of_diffusers(
    network: Any, folder: Path, under: bool, tmp_path: Path
) -> None:
    if under:
        folder.rename(tmp_path / "vae")
    codec = load_autoencoder_kl(tmp_path if under else folder)
    x = pictures()
    found = codec.encode(x, LAYOUT)
    with torch.no_grad():
        theirs = (network.encode(x).latent_dist.mean - SHIFT) * SCALING
        back = network.decode(theirs / SCALING + SHIFT).sample
    assert found.layout.shape == (2, 2, 4, 6)
    torch.testing.assert_close(tensor(found.state), theirs, atol=1e-5, rtol=1e-5)
    made = codec.decode(theirs, found.layout)
    torch.testing.assert_close(tensor(made.mode), back, atol=1e-5, rtol=1e-5)
    assert made.layout.shape == LAYOUT.shape


def test_a_draw_has_the_spread_of_diffusers(network: Any, folder: Path) -> None:
    """4,000 codes of one picture: within 5 standard errors of their mean and of their variance."""
    n = 4000
    codec = load_autoencoder_kl(folder)
    layout = Layout.dense(n, (1, 8, 8))
    x = pictures(Layout.dense(1, (1, 8, 8)))
    with torch.no_grad():
        z, _ = codec.embed(x.expand(layout.shape), layout, None, NoiseSource(1, range(n)))
        law = network.encode(x).latent_dist
    z, std = tensor(z).double(), law.std.double() * SCALING
    off = (z.mean(0) - (law.mean.double()[0] - SHIFT) * SCALING) / std[0] * math.sqrt(n)
    assert off.abs().max() < 5
    ratio = z.var(0) / std[0] ** 2
    assert (ratio - 1).abs().max() < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize("spread", [None, 40.0])
def test_levels_are_what_diffusers_sees_from_minus_one_to_one(
    network: Any, folder: Path, spread: float | None
) -> None:
    plain = load_autoencoder_kl(folder)
    levels = load_autoencoder_kl(folder, black_white=(0.0, 255.0), spread=spread)
    x = pictures()
    a, b = plain.encode(x, LAYOUT), levels.encode((x + 1) * 127.5, LAYOUT)
    torch.testing.assert_close(a.state, b.state, atol=1e-4, rtol=1e-4)
    y = tensor(plain.decode(a.state, a.layout).mode)
    made = levels.decode(b.state, b.layout)
    torch.testing.assert_close(tensor(made.mode), (y + 1) * 127.5, atol=1e-2, rtol=1e-4)
    assert torch.isfinite(b.log_density).all() == (spread is not None)


def test_it_is_a_codec(folder: Path) -> None:
    layout = Layout.dense(2, (1, 4, 4), dtype=torch.float64)
    codec = load_autoencoder_kl(folder, spread=0.5, dtype=torch.float64)
    check_codec(codec, layout=layout)


def test_it_stands_still_and_lets_a_gradient_through(folder: Path) -> None:
    codec = load_autoencoder_kl(folder).train()
    assert not any(p.requires_grad for p in codec.parameters())
    assert not any(m.training for m in codec.modules() if isinstance(m, nn.GroupNorm))
    z = torch.zeros(2, 2, 4, 6, requires_grad=True)
    layout = Layout.dense(2, (2, 4, 6))
    tensor(codec.decode(z, layout).mode).square().sum().backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0


def test_what_a_bundle_stores_builds_the_same(folder: Path) -> None:
    told = KL.model_validate_json(read_autoencoder_kl(folder).model_dump_json())
    loaded, fresh = load_autoencoder_kl(folder), told.fresh()
    fresh.load_state_dict(loaded.state_dict())
    x = pictures()
    assert torch.equal(fresh.encode(x, LAYOUT).state, loaded.encode(x, LAYOUT).state)


def test_a_missing_scale_is_an_error_and_no_shift_is_none(folder: Path) -> None:
    assert read_autoencoder_kl(edited(folder, shift_factor=None)).shift_factor == 0
    assert read_autoencoder_kl(edited(folder, drop="shift_factor")).shift_factor == 0
    edited(folder, drop="scaling_factor")
    with pytest.raises(ConfigError, match="how its codes are scaled"):
        load_autoencoder_kl(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scaling_factor": 0}, "scaled"),
        ({"scaling_factor": None}, "scaled"),
        ({"scaling_factor": "1"}, "scaled"),
        ({"scaling_factor": math.inf}, "scaled"),
        ({"shift_factor": "0"}, "shift_factor"),
        ({"latents_mean": [0.0, 0.0]}, "latents_mean"),
        ({"latents_std": [1.0, 1.0]}, "latents_std"),
        ({"latent_chanels": 2}, "latent_channels"),
        ({"_class_name": "VQModel"}, "not supported"),
        ({"auto_map": {}}, "code of its own"),
        ({"up_block_types": ["UpDecoderBlock2D"]}, "as many blocks"),
        ({"out_channels": 3}, "as many channels"),
        ({"latent_channels": "2"}, "latent_channels"),
    ],
)
def test_what_the_configuration_may_not_say(
    folder: Path, fields: dict[str, object], said: str
) -> None:
    with pytest.raises((ConfigError, BundleError), match=said):
        load_autoencoder_kl(edited(folder, **fields))


def test_what_the_architecture_may_not_be(folder: Path) -> None:
    told = read_autoencoder_kl(edited(folder, down_block_types=["Nothing"] * 3))
    with pytest.raises(ConfigError, match="cannot build"):
        told.fresh()
    for pair in ((1.0, -1.0), (0.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(ConfigError, match="in order"):
            load_autoencoder_kl(folder, black_white=pair)
    with pytest.raises(ConfigError, match="positive"):
        load_autoencoder_kl(folder, spread=0.0)


def test_damaged_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no config\.json"):
        load_autoencoder_kl(tmp_path / "none")
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.rename(folder / "kept")
    with pytest.raises(BundleError, match="no loadable"):
        load_autoencoder_kl(folder)
    (folder / "kept").rename(weights)
    tensors = load_file(weights)
    dropped = sorted(tensors)[0]
    kept = {name: value for name, value in tensors.items() if name != dropped}
    save_file(kept, weights)
    with pytest.raises(BundleError, match="missing"):
        load_autoencoder_kl(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(BundleError, match="not a JSON object"):
        load_autoencoder_kl(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        load_autoencoder_kl(folder)


def test_without_diffusers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(PluginError, match=r"unnoise-latent\[diffusers\]"):
        load_autoencoder_kl(folder)


def test_data_that_do_not_fit(folder: Path) -> None:
    codec = load_autoencoder_kl(folder)
    for shape, said in (((1, 16, 18), "multiples of 4"), ((3, 16, 16), "1 channels")):
        with pytest.raises(InputError, match=said):
            codec.encode(torch.zeros(2, *shape), Layout.dense(2, shape))
    double = Layout.dense(2, (1, 16, 24), dtype=torch.float64)
    with pytest.raises(InputError, match=r"float64.*float32"):
        codec.encode(torch.zeros(double.shape, dtype=torch.float64), double)


class Answer(nn.Module):
    """Returns what it was given to return."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> object:
        return self.output


def test_any_two_modules() -> None:
    torch.manual_seed(0)
    encoder, decoder = nn.Conv2d(3, 4, 2, stride=2), nn.ConvTranspose2d(2, 3, 2, stride=2)
    shapes = Downsampled(2, 3, 2)
    codec = modules(encoder, decoder, shapes, DiagonalGaussian(axis=1), FixedGaussian(0.3))
    layout = Layout.dense(3, (3, 4, 6), dtype=torch.float32)
    x = pictures(layout)
    found = codec.encode(x, layout)
    assert torch.equal(tensor(found.state), encoder(x)[:, :2])
    assert torch.equal(tensor(codec.decode(found.state, found.layout).mode), decoder(found.state))
    check_codec(codec.double(), layout=Layout.dense(2, (3, 4, 4), dtype=torch.float64))


@pytest.mark.parametrize(
    ("output", "error", "said"),
    [
        (torch.full((1, 1, 2, 2), math.nan), NonFiniteError, "encoder returns NaN"),
        (torch.zeros(1, 1, 2, 3), InputError, "another shape"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.float64), InputError, "another dtype"),
        ((torch.zeros(1, 1, 2, 2),), InputError, "no tensor"),
    ],
)
def test_what_a_module_may_not_return(output: object, error: type[Exception], said: str) -> None:
    def codec(encoded: object, decoded: object) -> Codec:
        return modules(Answer(encoded), Answer(decoded), Downsampled(2, 1, 1), Point())

    data, codes = Layout.dense(1, (1, 4, 4)), Layout.dense(1, (1, 2, 2))
    with pytest.raises(error, match=said):
        codec(output, None).encode(torch.zeros(data.shape), data)
    with pytest.raises(error, match=said.replace("encoder", "decoder")):
        codec(None, output).decode(torch.zeros(codes.shape), codes)


def test_its_numbers_are_not_made_up(folder: Path) -> None:
    """diffusers' default for a configuration without the field is what is refused."""
    assert diffusers.AutoencoderKL().config.scaling_factor == 0.18215
