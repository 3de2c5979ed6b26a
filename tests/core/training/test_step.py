"""One step of a run: its noise, its gradient, the weights of samples."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import SMALL, Big, Toy, run, weights

from unnoise.errors import ConfigError, InputError, PluginError
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Objective, Simple
from unnoise.training import checkpoint as checkpoints
from unnoise.training.data import Batches, Shard, mix
from unnoise.training.record import rows
from unnoise.training.train import train


class Watching(Objective):
    """Remembers the sample numbers of each step."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        self.seen.append(list(noise.ids))
        return Simple()(denoiser, batch, noise)


def test_noise_is_numbered_by_step_and_place_in_the_batch(tmp_path: Path) -> None:
    objective = Watching()
    run(tmp_path / "run", objective=objective, steps=3, validation_batches=0, bound_samples=0)
    assert objective.seen == [list(range(7 * step, 7 * step + 7)) for step in range(3)]


def test_the_gradient_is_clipped(tmp_path: Path) -> None:
    # AdamW does not see the scale of the gradient, but its moments are in the checkpoint
    run(tmp_path / "run", objective=Big(), steps=1, clip_norm=0.5, dropout=0.0)
    good = checkpoints.latest(tmp_path / "run")
    moments = checkpoints.read_tensors(good.folder / "optimizer.safetensors")
    first = [v for name, v in moments.items() if name.endswith("exp_avg")]
    norm = math.sqrt(sum(float(v.square().sum()) for v in first))
    assert norm == pytest.approx(0.5 * (1 - 0.9), rel=1e-4)
    assert rows(tmp_path / "run")[0]["gradient_norm"] > 1e4


class Flat(Objective):
    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        return Simple()(denoiser, batch, noise).mean()


def test_an_objective_that_averages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one loss per sample"):
        run(tmp_path / "run", objective=Flat())


class Weighing(Toy):
    """Samples of class 1 count `weight` times as much as those of class 0, times `scale`."""

    def __init__(self, weight: float | None, scale: float = 1.0) -> None:
        self.weight, self.scale = weight, scale

    def collate(self, items: list[tuple[Tensor, int]]) -> Batch:
        batch = super().collate(items)
        if self.weight is None:
            return batch
        weight = torch.tensor([self.weight if label else 1.0 for _, label in items])
        return replace(batch, weight=self.scale * weight)


def weighed(out: Path, weight: float | None, scale: float = 1.0, **options: object) -> Path:
    train(Weighing(weight, scale), 0.0, out, **{**SMALL, **options})
    return out


def test_weights_of_one_are_no_weights(finished: Path, tmp_path: Path) -> None:
    assert weights(weighed(tmp_path / "ones", 1.0)) == weights(finished)


@pytest.mark.parametrize("scale", [1.0, 0.125])
def test_the_gradient_is_that_of_the_weighted_mean(tmp_path: Path, scale: float) -> None:
    options = {"steps": 1, "dropout": 0.0, "clip_norm": None, "warmup": 0}
    out = weighed(tmp_path / "run", 3.0, scale, **options)
    domain = Weighing(3.0)
    configuration = domain.configure(0.0, {"width": 8})
    torch.manual_seed(mix(0))
    denoiser = domain.build(configuration)
    batch = Batches(domain, domain.dataset(0.0, configuration, "train"), 50, 0, Shard(7))[0]
    losses = Simple()(denoiser, batch, NoiseSource(0, range(7)))
    mean = (losses * batch.weight).sum() / batch.weight.sum()
    mean.backward()
    good = checkpoints.latest(out)
    moments = checkpoints.read_tensors(good.folder / "optimizer.safetensors")
    for name, parameter in denoiser.named_parameters():
        found = moments[f"0/denoiser.{name}/exp_avg"] / (1 - 0.9)
        torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-6)
    told = rows(out)[0]["loss"]
    assert told == pytest.approx(mean.item())
    assert told != pytest.approx(losses.mean().item(), rel=1e-3)


def test_the_validation_loss_is_a_weighted_mean_too(tmp_path: Path) -> None:
    options = {"steps": 1, "validation_batches": 1, "batch_size": 40, "bound_samples": 0}
    none, ones, first, second = (
        rows(weighed(tmp_path / str(weight), weight, **options, learning_rate=1e-9))[0]
        for weight in (None, 1.0, 1e6, 1e-6)
    )
    assert none["validation_loss"] == ones["validation_loss"]
    both = (first["validation_loss"] + second["validation_loss"]) / 2  # 20 of each class
    assert ones["validation_loss"] == pytest.approx(both, rel=1e-4)
    assert abs(first["validation_loss"] - second["validation_loss"]) > 0.01


def test_a_step_in_which_nothing_counts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="weight 0"):
        weighed(tmp_path / "run", 1.0, 0.0)


class Wrong(Toy):
    """Its collate returns something else."""

    def __init__(self, answer: Callable[[Batch], object]) -> None:
        self.answer = answer

    def collate(self, items: list[tuple[Tensor, int]]) -> object:
        return self.answer(super().collate(items))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda batch: batch.x0, r"'toy' must return a Batch.*got 'Tensor'"),
        (lambda batch: None, r"must return a Batch.*got 'NoneType'"),
        (lambda batch: Toy().collate([(torch.zeros(2), 0)] * 3), r"got 'a batch of 3'"),
    ],
)
def test_a_collate_that_returns_nonsense_is_named(
    tmp_path: Path, answer: Callable[[Batch], object], message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        train(Wrong(answer), 0.0, tmp_path / "run", **SMALL)
