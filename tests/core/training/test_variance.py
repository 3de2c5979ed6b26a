"""The optimal variance of a trained model."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import Toy

from unnoise.model import Model
from unnoise.training.variance import with_variance


def test_augmentation_is_a_function_of_the_seed_and_global_numbers_are_left_alone() -> None:
    toy = Toy()
    configuration = toy.configure(0.0, {})
    model = Model(toy, toy.build(configuration), configuration, {"steps": 3})

    def of(seed: int, state: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(state)
        before = torch.get_rng_state()
        found = with_variance(model, 0.0, num_samples=8, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        return found.denoiser.state_dict()

    first, again, other = of(0, 1), of(0, 2), of(1, 1)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())
