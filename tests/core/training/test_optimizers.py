"""The optimisers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import SMALL, one_step, run, weights

from unnoise.errors import ConfigError
from unnoise.training import checkpoint as checkpoints
from unnoise.training.optimizers import optimizer_of
from unnoise.training.train import TrainingConfiguration


def test_muon_steps_along_orthogonal_matrices(tmp_path: Path) -> None:
    def trained(steps: int) -> dict[str, Tensor]:
        options = {
            "ema": 0.0,
            "warmup": 0,
            "width": 8,
            "decay": "none",
            "dropout": 0.0,
            "weight_decay": 0.0,
        }
        run(tmp_path / str(steps), optimizer="muon", steps=steps, **options)
        return checkpoints.read_tensors(tmp_path / str(steps) / "model.safetensors")

    before, after = trained(1), trained(2)
    part = "denoiser.network"
    for name in ("enter", "middle.2", "leave.1"):
        step = after[f"{part}.{name}.weight"] - before[f"{part}.{name}.weight"]
        # five steps of Newton and Schulz bring singular values near 1, but for the smallest of a
        # gradient of 7 samples; then times .2 sqrt(longer side)
        size = SMALL["learning_rate"] * 0.2 * max(step.shape) ** 0.5
        values = torch.linalg.svdvals(step) / size
        assert values[:2].min() > 0.6
        assert values.max() < 1.3
    names = checkpoints.read_tensors(
        checkpoints.latest(tmp_path / "2").folder / "optimizer.safetensors"
    )
    moments = {name for name in names if name.endswith("exp_avg")}
    assert all("weight/" not in name or "label" in name for name in moments)
    assert any("label.weight" in name for name in moments)  # an embedding is no map


def test_muon_resumes_with_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "whole", optimizer="muon", weight_decay=0.1)
    for _ in range(3):
        one_step(tmp_path / "cut", optimizer="muon", weight_decay=0.1)
    run(tmp_path / "cut", optimizer="muon", weight_decay=0.1, resume=True)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_muon_needs_a_matrix() -> None:
    def of(module: nn.Module, options: TrainingConfiguration) -> torch.optim.Optimizer:
        return optimizer_of(module, dict(module.named_parameters()), options)

    with pytest.raises(ConfigError, match=r"no matrix.*adamw"):
        of(nn.Conv1d(2, 3, 3), TrainingConfiguration(optimizer="muon"))
    with pytest.raises(ConfigError, match="no trainable parameter"):
        of(nn.ReLU(), TrainingConfiguration())
