"""RePaint's schedule, and its numbers on a 2-D Gaussian."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from unnoise.denoise import Denoiser
from unnoise.kernels import (
    BetaTable,
    GaussianKernel,
    Linear,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    Ancestral,
    Diffusion,
    Observation,
    RePaint,
    Replacement,
    grids,
    walk,
)
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle, PointEstimate

F = torch.float64


def run(sampler, denoiser, layout, seed=0, steps=10, observation=None, start=None):
    noise = NoiseSource(seed, range(layout.batch))
    kernel = denoiser.kernel
    if start is None:
        x, t = kernel.prior(layout).sample(noise), 1.0
    else:
        x, t = start.state(kernel, layout, noise), start.t
    grid = grids.uniform(kernel, steps, t)
    return list(walk(sampler, Diffusion(denoiser, layout, noise), x, grid, observation))


@pytest.mark.parametrize(
    ("steps", "jump", "resample", "denoise", "renoise"),
    [
        (250, 10, 10, 2410, 2160),
        (250, 10, 5, 1210, 960),
        (100, 10, 10, 910, 810),
        (250, 10, 1, 250, 0),
        (10, 3, 2, 19, 9),  # own: back from the last step but one, from the 6th and from the 3rd
    ],
)
def test_repaint_counts(steps, jump, resample, denoise, renoise):
    path = RePaint(jump, resample).path(steps)
    moves = [b - a for a, b in itertools.pairwise(path)]
    assert set(moves) <= {1, -1}
    assert (moves.count(1), moves.count(-1)) == (denoise, renoise)
    assert (path[0], path[-1], max(path)) == (0, steps, steps)


class Counted(Denoiser):
    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.kernel, self.times = denoiser, denoiser.kernel, []

    def forward(self, x_t, t, layout, condition=None):
        self.times.append(t)
        return self.denoiser(x_t, t, layout, condition)


def test_repaint_evaluates_what_it_counts():
    kernel = GaussianKernel(Euclidean(), VPLinear())
    model = Counted(PointEstimate(GaussianOracle(kernel, 0.0, 1.0)))
    layout = Layout.dense(2, (3,), dtype=F)
    nothing = Observation(torch.zeros(2, 3, dtype=F), torch.zeros(2, 3).bool(), RePaint(3, 2))
    steps = run(Ancestral(), model, layout, steps=10, observation=nothing)
    assert len(model.times) == len(steps) == 19
    assert steps[-1].t == 0


RHO = 0.9


def repaint_problem():
    """Unit variances, correlation .9; abar at the 250 indices round(linspace(0, 999, 250))."""
    log_abar = [2 * math.log(BetaTable.linear(1000).alpha((i + 1) / 1000)) for i in range(1000)]
    kept = [log_abar[round(999 * i / 249)] for i in range(250)]
    betas = [-math.expm1(b - a) for a, b in zip([0.0, *kept[:-1]], kept, strict=True)]
    kernel = GaussianKernel(Euclidean(), BetaTable(tuple(betas)))
    covariance = torch.tensor([[1.0, RHO], [RHO, 1.0]], dtype=F)
    return PointEstimate(GaussianOracle(kernel, 0.0, covariance))


@pytest.mark.parametrize(
    ("method", "mean", "variance"),
    [
        (Replacement(), 0.625, 0.303),
        (RePaint(10, 5), 0.847, 0.189),
        pytest.param(RePaint(10, 10), 0.876, 0.175, marks=pytest.mark.slow),
    ],
    ids=["replacement", "r5", "r10"],
)
def test_repaint_on_a_correlated_gaussian(method, mean, variance):
    # x_1 = 1 is known; exact would be .9 and .19. 40,000 points: the standard error of the mean is
    # below .0028 and of the variance .0022, so that .01 is false with probability below 4e-4 each
    model, layout = repaint_problem(), Layout.dense(1, (40_000, 2))
    known = torch.tensor([1.0, math.nan]).expand(1, 40_000, 2)
    observation = Observation(known, torch.tensor([True, False]), method)
    steps = run(Ancestral(), model, layout, seed=1, steps=250, observation=observation)
    x = steps[-1].x[0]
    assert torch.equal(x[:, 0], torch.ones(40_000))
    assert x[:, 1].mean().item() == pytest.approx(mean, abs=0.01)
    assert x[:, 1].var().item() == pytest.approx(variance, abs=0.01)


def test_own_setting_one_step_of_replacement_by_hand():
    # flow matching, one middle time: two linear steps that can be written out
    kernel = GaussianKernel(Euclidean(), Linear())
    c = torch.tensor([[1.0, RHO], [RHO, 1.0]], dtype=F)
    model = PointEstimate(GaussianOracle(kernel, 0.0, c))
    layout = Layout.dense(1, (40_000, 2), dtype=F)
    known = torch.tensor([2.0, 0.0], dtype=F).expand(1, 40_000, 2)
    observation = Observation(known, torch.tensor([True, False]))
    steps = run(Ancestral(), model, layout, seed=2, steps=2, observation=observation)
    # t = 1: E[x_0 | x_1] = 0, and x_{1/2} of the unknown is N(0, 1/4)
    # t = 1/2: x_0 = C (C + I)^-1 2 x, with the known part N(1, 1/4)
    gain = 2 * c @ torch.linalg.inv(c + torch.eye(2, dtype=F))
    mean, variance = gain[1, 0] * 1.0, 0.25 * (gain[1] ** 2).sum()
    x = steps[-1].x[0, :, 1]
    # within 5 standard errors: false alarm 1.2e-6
    assert abs(x.mean() - mean) < 5 * (variance / 40_000) ** 0.5
    assert abs(x.var() / variance - 1) < 5 * (2 / 40_000) ** 0.5
