"""The bound of infinitely many steps, as a model gives it."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import BaseModel

from unnoise.domain import Batch, Trainable
from unnoise.errors import InputError
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    ProductKernel,
    VPLinear,
)
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.objectives import Continuous, continuous_bound, limit_bound, sde_bound
from unnoise.samplers import Diffusion
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import FiniteOracle, GaussianOracle, PmfOracle

PAIRS = torch.tensor([[0.45, 0.05], [0.05, 0.45]], dtype=torch.float64)


class Rows(Trainable):
    """Items are 1-D tensors."""

    name, Request, Configuration = "rows", BaseModel, BaseModel

    def data_type(self, configuration):
        return Continuous()

    def collate(self, items):
        x0 = torch.stack(list(items))
        return Batch(x0, (Euclidean() if x0.is_floating_point() else Tokens(3)).layout(x0))

    def plan(self, inputs, model, draws):
        raise NotImplementedError

    build = dataset = write = plan


def test_a_model_of_tokens():
    # 9 : 1 : 1 : 9 pairs. The bound is the entropy on average: within 5 of its own standard errors
    denoiser = PmfOracle(CategoricalKernel(Tokens(3), Absorbing(2)), PAIRS)
    x = [torch.tensor(pair) for pair in [[0, 0]] * 9 + [[0, 1], [1, 0]] + [[1, 1]] * 9]
    found = Model(Rows(), denoiser, None).bound(x, steps=None, evaluations=400)
    error = found.standard_error.square().sum().sqrt().item() / 20
    assert error < 0.02
    assert abs(found.total.mean().item() - 1.0182302) < 5 * error
    assert found.evaluations == 400
    x0 = torch.stack(x)
    layout, noise = Layout.dense(20, (2,), dtype=torch.int64), NoiseSource(0, range(20))
    same = continuous_bound(Diffusion(denoiser, layout, noise), x0, evaluations=400)
    torch.testing.assert_close(found.total, same.total)


def test_a_gaussian_model():
    denoiser = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 0.25)
    x = [torch.linspace(-1, 1, 500, dtype=torch.float64)]
    found = Model(Rows(), denoiser, None).bound(x, steps=None)
    layout, noise = Layout.dense(1, (500,), dtype=torch.float64), NoiseSource(0, [0])
    same = sde_bound(Diffusion(denoiser, layout, noise), x[0][None], data=Continuous())
    torch.testing.assert_close(found.total, same.total)
    exact = 0.5 * (x[0] ** 2 / 0.25 + math.log(2 * math.pi * 0.25)).sum()
    assert abs((found.total - exact).item()) < 6 * found.standard_error.item()


def test_a_discrete_clock_keeps_its_own_steps():
    kernel = CategoricalKernel(Tokens(3), Absorbing(2, BetaTable((0.3, 0.5, 0.9))))
    x = [torch.tensor([0, 1])]
    found = Model(Rows(), PmfOracle(kernel, PAIRS), None).bound(x, steps=None, evaluations=None)
    assert found.evaluations == 2 + 4  # of three steps, the last by four draws


def test_products_have_no_such_bound():
    kernel = ProductKernel({"x": GaussianKernel(Euclidean(), VPLinear())})
    state = {"x": torch.zeros(2, dtype=torch.float64)}
    layout = Layout.product({"x": Layout.dense(1, (2,), dtype=torch.float64)})
    with pytest.raises(InputError, match="Gaussian kernel"):
        limit_bound(
            Diffusion(FiniteOracle(kernel, [state]), layout, NoiseSource(0, [0])),
            {"x": state["x"][None]},
        )
