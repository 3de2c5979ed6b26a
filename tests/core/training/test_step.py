"""One step of a run: its noise, its gradient, the weights of samples."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import Big, run

from unnoise.errors import ConfigError
from unnoise.objectives import Batch, Objective, Simple
from unnoise.training import checkpoint as checkpoints
from unnoise.training.record import rows


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
