"""The probability-flow ODE with step sizes of its own."""

from __future__ import annotations

import pytest
import torch

from unnoise.errors import LimitExceeded
from unnoise.kernels import (
    GaussianKernel,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    AdaptiveODE,
    Diffusion,
    grids,
)
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import MixtureOracle, PointEstimate

F = torch.float64


def mixture(schedule=None):
    kernel = GaussianKernel(Euclidean(), schedule or VPLinear())
    parts = ([0.4, 0.6], [-1.0, 1.0], [0.3, 0.3])
    return PointEstimate(MixtureOracle(kernel, *(torch.tensor(v, dtype=F) for v in parts)))


def run(sampler, model, grid, ids=range(4), shape=(2,)):
    layout, noise = Layout.dense(len(ids), shape, dtype=F), NoiseSource(3, ids)
    x = model.kernel.prior(layout).sample(noise)
    return list(sampler(Diffusion(model, layout, noise), x, grid))


def test_the_adaptive_solver_stops():
    with pytest.raises(LimitExceeded, match="too many evaluations"):
        run(AdaptiveODE(1e-9, 1e-9, most=20), mixture(), grids.custom([1.0, 0.0]))
