"""A batch moves as a whole, and its weights are checked."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.errors import InputError
from unnoise.objectives import Batch
from unnoise.spaces import Layout


def batch(*weight: float) -> Batch:
    x0 = torch.ones(3, 2)
    condition = {"label": torch.zeros(3)}
    return Batch(x0, Layout.dense(3, (2,)), condition, torch.tensor(weight))


def test_a_batch_moves_with_all_that_it_has() -> None:
    moved = batch(1.0, 2.0, 0.0).to("meta")
    assert {moved.x0.device.type, moved.condition["label"].device.type} == {"meta"}
    assert (moved.weight.device.type, moved.layout.device.type) == ("meta", "meta")
    plain = Batch(torch.ones(3, 2), Layout.dense(3, (2,))).to("meta")
    assert (plain.condition, plain.weight) == (None, None)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ((1.0, 2.0), r"one weight per sample.*got \(2,\).*\(3,\)"),
        ((1.0, -0.5, 1.0), r"not negative.*got -0\.5"),
        ((1.0, math.nan, 1.0), "not negative.*got nan"),
        ((1.0, math.inf, 1.0), "not negative.*got inf"),
    ],
)
def test_weights_that_are_none_are_refused(weight: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        batch(*weight)
