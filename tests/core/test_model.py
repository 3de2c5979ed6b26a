"""`Model.bound` and `Model.log_likelihood`: what the data type of a domain changes."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent / "engine"))
from engine_models import CLOSE, POINTS

from unnoise.domain import Batch, Trainable
from unnoise.errors import InputError, NonFiniteError
from unnoise.kernels import CategoricalKernel, GaussianKernel, Linear, Uniform, VPLinear
from unnoise.model import Model
from unnoise.objectives import Continuous, Dequantised, Quantised
from unnoise.spaces import Euclidean, Tokens
from unnoise.testing import GaussianOracle, PmfOracle

KERNEL = GaussianKernel(Euclidean(), VPLinear())


class Rows(Trainable):
    """Items are 1-D tensors."""

    name, Request, Configuration = "rows", BaseModel, BaseModel

    def __init__(self, kind=None):
        self.kind = kind or Continuous()

    def data_type(self, configuration):
        return self.kind

    def build(self, configuration):
        return GaussianOracle(KERNEL, 0.0, 0.25)

    def collate(self, items):
        x0 = torch.stack(list(items))
        space = Euclidean() if x0.dtype.is_floating_point else Tokens(4)
        return Batch(x0, space.layout(x0))

    def plan(self, inputs, model, draws):
        raise NotImplementedError

    dataset = write = plan


def model(kind=None, denoiser=None):
    domain = Rows(kind)
    return Model(domain, denoiser or domain.build(None), None)


def levels(n, width):
    generator = torch.Generator().manual_seed(0)
    return list((torch.randint(0, 256, (n, width), generator=generator) / 127.5 - 1).double())


def test_continuous_data_get_a_density():
    x = [torch.tensor([0.3, -0.1], dtype=torch.float64)]
    exact = sum(-0.5 * (v**2 / 0.25 + math.log(2 * math.pi * 0.25)) for v in (0.3, -0.1))
    assert model().log_likelihood(x).nats.item() == pytest.approx(exact, abs=1e-4)
    scaled = model().log_likelihood(x, data=Continuous(unit=2.0))
    assert scaled.nats.item() == pytest.approx(exact + 2 * math.log(2), abs=1e-4)


def test_levels_get_a_probability():
    """The data are far more spread than the levels: P is the density times a step."""
    items = levels(12, 16)
    quantised = model(Quantised()).log_likelihood(items, tolerance=1e-3)
    x = torch.stack(items)
    density = -0.5 * (x**2 / 0.25 + math.log(2 * math.pi * 0.25))
    exact = (density + math.log(2 / 255)).sum(1)
    # one draw of x_eps: the spread is about one nat for 16 entries
    assert quantised.nats.mean().item() == pytest.approx(exact.mean().item(), rel=0.02)
    assert "levels" in quantised.estimator
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shaken = list(x + (noise - 0.5) * 2 / 255)
    uniform = model(Dequantised()).log_likelihood(shaken, tolerance=1e-3)
    assert uniform.nats.mean().item() == pytest.approx(exact.mean().item(), rel=0.02)
    bound = model(Quantised()).bound(items, steps=40, evaluations=None)
    assert bound.total.mean().item() == pytest.approx(-exact.mean().item(), rel=0.1)


def test_refusals():
    items = levels(4, 512)
    with pytest.raises(InputError, match="Quantised"):
        model().log_likelihood(items)
    with pytest.raises(InputError, match="not dequantised"):
        model(Dequantised()).log_likelihood(items)
    with pytest.raises(InputError, match="rounded"):
        model().bound(items)
    with pytest.raises(InputError, match="at least one"):
        model().log_likelihood([])
    kernel = CategoricalKernel(Tokens(4), Uniform(Linear()))
    tokens = model(denoiser=PmfOracle(kernel, torch.full((4,), 0.25)))
    with pytest.raises(InputError, match=r"bound"):
        tokens.log_likelihood([torch.tensor([1])])
    assert bool(torch.isfinite(tokens.bound([torch.tensor([1])], steps=5).total).all())


def test_bound_of_data_items():
    items = [([0.1, 0.2], 0.0), ([1.0, -1.0], 0.5)]
    found = POINTS.bound(items, steps=20, evaluations=None)
    assert found.total.shape == (2,)
    alone = POINTS.bound(items[:1], steps=20, evaluations=None)
    torch.testing.assert_close(alone.total, found.total[:1], **CLOSE)
    with pytest.raises(InputError, match="at least one"):
        POINTS.bound([])
    with pytest.raises(NonFiniteError):
        POINTS.bound([([math.nan, 0.0], 0.0)])
