"""`Model.again`: a conditional model's draws of held-out items, and what a calibration says."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent))
from test_model import KERNEL, Rows, levels
from test_model import model as unconditional

from unnoise.calibration import calibrated
from unnoise.denoise import Denoiser
from unnoise.domain import Batch
from unnoise.errors import InputError
from unnoise.model import Model
from unnoise.spaces import Layout
from unnoise.testing import GaussianOracle

WIDTH = 6
HOW = {"steps": 8, "sampler": "ancestral", "batch_size": 5000}


class Around(Denoiser):
    """The exact law of data N(c, variance) with c in the condition, and an error in it."""

    def __init__(self, variance: float = 0.25, shift: float = 0.0) -> None:
        super().__init__()
        self.kernel, self.variance, self.shift = KERNEL, variance, shift

    def forward(self, x_t, t, layout, condition=None):
        mean = condition["centre"][:, None].expand(x_t.shape) + self.shift
        return GaussianOracle(KERNEL, mean, self.variance)(x_t, t, layout)


class Centres(Rows):
    """Items are rows around a centre; of every other one the last entry is not asked for."""

    name, Request, Configuration = "centres", BaseModel, BaseModel

    def collate(self, items):
        x0 = torch.stack([x for x, _ in items])
        mask = torch.ones(x0.shape, dtype=torch.bool)
        mask[:, -1] = torch.tensor([float(c) > 0 for _, c in items])
        layout = Layout.dense(*x0.shape[:1], x0.shape[1:], mask=mask, dtype=x0.dtype)
        condition = {"centre": torch.stack([c for _, c in items])}
        return Batch(layout.zero_padding(x0), layout, condition)


def rows(n: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(n, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, WIDTH, generator=generator, dtype=torch.float64)
    return list(zip(centres[:, None] + 0.5 * noise, centres, strict=True))


def test_draws_are_of_the_conditional_law():
    items = rows(40)
    parts: list[float] = []
    x, y = Model(Centres(), Around(), None).again(items, 100, report=parts.append, **HOW)
    assert (x.shape, y.shape) == ((40, WIDTH), (40, 100, WIDTH))
    assert parts[-1] == 1.0
    centres = np.array([float(c) for _, c in items])
    np.testing.assert_allclose(x[:, 0], [float(row[0]) for row, _ in items])
    left_out = centres <= 0
    assert left_out.any()
    assert not x[left_out, -1].any()
    assert not y[left_out][:, :, -1].any()
    z = (y[:, :, :-1] - centres[:, None, None]) / 0.5
    assert abs(z.mean()) < 6 / math.sqrt(z.size)
    assert abs(z.var() - 1) < 6 * math.sqrt(2 / z.size)


@pytest.mark.parametrize(
    ("denoiser", "right"),
    [(Around(), True), (Around(0.25 * 0.7), False), (Around(shift=0.15), False)],
    ids=["exact", "too sure", "shifted"],
)
def test_a_right_model_passes_and_a_wrong_one_does_not(denoiser, right):
    x, y = Model(Centres(), denoiser, None).again(rows(300, seed=1), 20, **HOW)
    assert calibrated(x, y).passed == right


def test_what_has_no_such_draws_is_said():
    with pytest.raises(InputError, match="given nothing"):
        unconditional().again(levels(2, 4), 5)
    with pytest.raises(InputError, match="needs items"):
        Model(Centres(), Around(), None).again([], 5)
    uneven = [*rows(1), (torch.zeros(2, dtype=torch.float64), torch.tensor(0.0).double())]
    with pytest.raises(InputError, match="not of one size"):
        Model(Centres(), Around(), None).again(uneven, 5)
    with pytest.raises(InputError, match="do not fit"):
        Model(Centres(), Around(), None).again(rows(2), 10**8)
