"""A codec that learns, beside a denoiser: each in its turn, saved by part, and started from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import SMALL, Toy
from training_turns import Duel

from unnoise.codecs import Codec, Encoded
from unnoise.denoise import Condition
from unnoise.distributions import Dirac, Distribution
from unnoise.errors import BundleError
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Elapsed, Networks, Objective, Simple, Turn
from unnoise.spaces import Layout, State, tensor
from unnoise.storage.bundle import read_bundle
from unnoise.training import checkpoint as checkpoints
from unnoise.training.train import train


class Stretch(Codec):
    """z = exp(a) x; a is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    @property
    def invertible(self) -> bool:
        return True

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        volume = 2 * self.log_scale.double().expand(layout.batch)
        return Encoded(self.log_scale.exp() * tensor(x), layout, volume)

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        return Dirac(tensor(z) * torch.exp(-self.log_scale), layout)


class Stretched(Toy):
    def codec(self, configuration: object) -> Codec:
        return Stretch()


@dataclass(frozen=True)
class Latent(Objective):
    """The codec is trained through the denoiser's error, which has another weight for it."""

    weight: float = 3.0

    def turns(self, networks: Networks) -> Sequence[Turn]:
        return [Turn(self.prior, ["denoiser"]), Turn(self.code, ["codec"], name="code")]

    def prior(
        self, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
    ) -> Tensor:
        encoded = networks.codec.encode(batch.x0, batch.layout, batch.condition, noise)
        states = Batch(encoded.state, encoded.layout, batch.condition)
        return Simple()(networks.denoiser, states, noise)

    def code(
        self, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
    ) -> Tensor:
        encoded = networks.codec.encode(batch.x0, batch.layout, batch.condition, noise)
        states = Batch(encoded.state, encoded.layout, batch.condition)
        own = Simple()(networks.denoiser, states, noise)
        return (self.weight * own - 0.1 * encoded.log_density).float()


def trained(out: Path, objective: Objective | None = None, **options: object) -> Model:
    return train(Stretched(), 0.0, out, objective=objective, **{**SMALL, **options})


def moment(out: Path, name: str) -> Tensor:
    good = checkpoints.latest(out)
    moments = checkpoints.read_tensors(good.folder / "optimizer.safetensors")
    return moments[f"{name}/exp_avg"] / (1 - 0.9)


def test_the_codec_learns_nothing_from_a_loss_of_states(tmp_path: Path) -> None:
    model = trained(tmp_path / "run")
    assert float(model.codec.log_scale) == 0.0
    assert "codec.log_scale" in read_bundle(tmp_path / "run").state_dict


def test_gradients_of_the_codec_and_the_prior_are_those_computed_apart(tmp_path: Path) -> None:
    options = {"steps": 1, "clip_norm": None, "dropout": 0.0, "warmup": 0}
    three, six = (trained(tmp_path / str(w), Latent(w), **options) for w in (3.0, 6.0))
    # the second turn sees the denoiser that the first one moved, the same in both runs
    name = "0/denoiser.network.enter.weight"
    assert torch.equal(moment(tmp_path / "3.0", name), moment(tmp_path / "6.0", name))
    first, second = (moment(tmp_path / w, "1/codec.log_scale") for w in ("3.0", "6.0"))
    volume = -0.1 * 2  # d/da of - .1 log |det|
    torch.testing.assert_close(second - volume, 2 * (first - volume), rtol=1e-4, atol=1e-6)
    assert torch.equal(three.denoiser.network.enter.weight, six.denoiser.network.enter.weight)
    assert abs(float(first - volume)) > 1e-3


def test_a_trained_codec_is_saved_and_started_from(tmp_path: Path) -> None:
    model = trained(tmp_path / "run", Latent())
    assert abs(float(model.codec.log_scale)) > 1e-3
    again = trained(tmp_path / "again", initial=model, steps=1, ema=0.0)
    assert torch.equal(again.codec.log_scale, model.codec.log_scale)
    model.save(tmp_path / "saved")
    saved, run = (read_bundle(tmp_path / name).state_dict for name in ("saved", "run"))
    assert saved.keys() == run.keys()
    assert all(torch.equal(saved[name], run[name]) for name in run)


def test_what_was_trained_beside_is_saved_and_started_from(tmp_path: Path) -> None:
    model = trained(tmp_path / "run", Duel())
    assert set(model.others) == {f"critic.{name}" for name, _ in Duel().critic.named_parameters()}
    model.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").read_bytes() == (
        tmp_path / "run" / "model.safetensors"
    ).read_bytes()
    options = {"initial": model, "steps": 1, "ema": 0.0, "learning_rate": 1e-9}
    again = trained(tmp_path / "again", Duel(), **options)
    for name, value in model.others.items():
        torch.testing.assert_close(again.others[name], value, rtol=0, atol=1e-8)
    without = trained(tmp_path / "without", Simple(), **options)  # has no use for them
    assert without.others == {}


def test_others_of_another_shape_are_refused(tmp_path: Path) -> None:
    model = trained(tmp_path / "run", Duel())
    with pytest.raises(BundleError, match="the weights to start from do not fit"):
        trained(tmp_path / "other", Duel(nn.Linear(2, 1)), initial=model)
