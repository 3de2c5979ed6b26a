"""The moving average of the weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from unnoise.training.average import Average


def test_average_follows_its_recursion() -> None:
    module = nn.Linear(1, 1, bias=False)
    module.register_buffer("count", torch.tensor(0))
    nn.init.constant_(module.weight, 1.0)
    average = Average(module, 0.5)
    expected = 1.0
    for number, value in enumerate([2.0, -1.0, 5.0, 0.5, 7.0, 1.0, 3.0, 4.0, 9.0, 2.0], start=1):
        nn.init.constant_(module.weight, value)
        module.count += 1
        average.update(number)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
        assert float(average.module.weight) == pytest.approx(expected, rel=1e-6)
    assert int(average.module.count) == 10
    assert not average.module.weight.requires_grad


def test_an_average_without_memory_is_the_weights() -> None:
    module = nn.Linear(3, 3)
    average = Average(module, 0.0)
    nn.init.normal_(module.weight)
    average.update(1)
    assert torch.equal(average.module.weight, module.weight)
