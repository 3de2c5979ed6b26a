"""Restart sampling against the variances of Gaussian data."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.denoise import Denoiser
from unnoise.errors import ConfigError, IncompatibleSampler
from unnoise.kernels import (
    VE,
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    DDIM,
    AdaptiveODE,
    Ancestral,
    Cached,
    Diffusion,
    Heun,
    Observation,
    Restart,
    Start,
    UniPC,
    grids,
    walk,
)
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import GaussianOracle, PmfOracle, PointEstimate

F = torch.float64
N = 200_000
MANY = Layout.dense(1, (N,), dtype=F)
V = 0.36  # variance of the data


def oracle(schedule, variance=V):
    return PointEstimate(GaussianOracle(GaussianKernel(Euclidean(), schedule), 0.0, variance))


def spread(schedule, t):
    return math.sqrt(schedule.alpha(t) ** 2 * V + schedule.sigma(t) ** 2)


def variance_after(model, restart, x, grid):
    *_, last = restart(Diffusion(model, MANY, NoiseSource(1, [0])), x, grid)
    return (last.x**2).mean().item()


@pytest.mark.parametrize("schedule", [VPLinear(), VE(0.01, 10.0), Linear()], ids=repr)
@pytest.mark.parametrize("repeats", [0, 1, 3])
@pytest.mark.parametrize("excess", [0.0, 2.0])
def test_an_error_of_the_variance_contracts_by_the_formula(schedule, repeats, excess):
    low, high = 0.3, 0.7
    grid = torch.tensor([0.9, 0.7, 0.6, 0.5, 0.4, 0.3], dtype=F)
    x = NoiseSource(0, [0]).normal(MANY) * spread(schedule, 0.9) * math.sqrt(1 + excess)
    model = oracle(schedule)
    found = variance_after(model, Restart(AdaptiveODE(), ((low, high, repeats),)), x, grid)
    a, s = schedule.alpha, spread
    factor = (a(high) * s(schedule, low) / (a(low) * s(schedule, high))) ** 2
    exact = spread(schedule, low) ** 2 * (1 + excess * factor**repeats)
    assert found == pytest.approx(exact, rel=5 * math.sqrt(2 / N) * 1.2)  # false alarm 6e-7


def test_a_wrong_denoiser_is_forgotten_up_to_what_it_does_between():
    """Wrong above t = 0.2, right below: restarts below mend what was done above."""
    schedule = VPLinear()
    right, wrong = oracle(schedule), oracle(schedule, 4 * V)

    class Both(Denoiser):
        def __init__(self):
            super().__init__()
            self.kernel = right.kernel

        def forward(self, x_t, t, layout, condition=None):
            return (wrong if t > 0.2 else right)(x_t, t, layout)

    model, grid = Both(), grids.uniform.times(right.kernel, 200)
    x = NoiseSource(0, [0]).normal(MANY)
    plain = variance_after(model, Restart(Heun(), ()), x, grid)
    once, often = (
        variance_after(model, Restart(Heun(), ((0.0, 0.175, k),)), x, grid) for k in (1, 4)
    )
    assert plain / V - 1 > 1
    factor = (schedule.alpha(0.175) * math.sqrt(V) / spread(schedule, 0.175)) ** 2
    assert once / V - 1 == pytest.approx((plain / V - 1) * factor, abs=0.02)
    assert often / V - 1 == pytest.approx((plain / V - 1) * factor**4, abs=0.02)


@pytest.mark.parametrize("sampler", [DDIM(), UniPC(), Ancestral()], ids=repr)
def test_the_way_of_the_times(sampler):
    kernel = GaussianKernel(Euclidean(), VPLinear())
    model = PointEstimate(GaussianOracle(kernel, 0.0, V))
    layout = Layout.dense(2, (3,), dtype=F)
    grid = grids.uniform.times(kernel, 5)

    def times(*intervals, start=grid):
        run = Diffusion(model, layout, NoiseSource(0, [0, 1]))
        x = kernel.prior(layout).sample(run.noise)
        return [round(step.t, 6) for step in Restart(sampler, intervals)(run, x, start)]

    plain = [0.8, 0.6, 0.4, 0.2, 0.0]
    assert times() == plain
    assert times((0.2, 0.6, 0)) == plain
    assert times((0.2, 0.6, 2)) == [0.8, 0.6, 0.4, 0.2, *[0.4, 0.2] * 2, 0.0]
    # t_max need not be a time of the grid, and t_min is moved to one
    assert times((0.22, 0.7, 1)) == [0.8, 0.6, 0.4, 0.2, *[0.6, 0.4, 0.2], 0.0]
    both = times((0.0, 0.2, 2), (0.4, 1.0, 1))
    assert both == [0.8, 0.6, 0.4, *[0.8, 0.6, 0.4], 0.2, 0.0, 0.0, 0.0]
    # a run that starts below
    assert times((0.0, 0.6, 1), start=grid[3:]) == [0.2, 0.0, 0.2, 0.0]
    table = GaussianKernel(Euclidean(), BetaTable.linear(10))
    run = Diffusion(PointEstimate(GaussianOracle(table, 0.0, V)), layout, NoiseSource(0, [0, 1]))
    steps = Restart(sampler, ((0.0, 0.3301, 1),))(run, torch.ones(2, 3, dtype=F), grid)
    assert [round(step.t, 6) for step in steps] == [*plain, 0.2, 0.0]


def test_rounds_one_after_the_other_to_the_bit():
    """Down to 0 and back: what several runs from a `Start` give with the same noise."""
    kernel = GaussianKernel(Euclidean(), VE(0.01, 10.0))
    model = PointEstimate(GaussianOracle(kernel, 0.0, V))
    layout, t = Layout.dense(2, (3,)), 0.4
    grid = grids.uniform.times(kernel, 4, t)
    noise = NoiseSource(5, [0, 1])
    x = torch.ones(2, 3)
    for _ in range(3):
        x = Start(x, t).state(kernel, layout, noise)
        *_, last = DDIM()(Diffusion(model, layout, noise), x, grid)
        x = last.x
    noise = NoiseSource(5, [0, 1])
    start = Start(torch.ones(2, 3), t).state(kernel, layout, noise)
    *_, last = Restart(DDIM(), ((0.0, t, 2),))(Diffusion(model, layout, noise), start, grid)
    assert torch.equal(last.x, x)


def test_known_parts_and_tokens():
    kernel = GaussianKernel(Euclidean(), VPLinear())
    layout = Layout.dense(2, (3,), dtype=F)
    model = GaussianOracle(kernel, 0.0, V)
    value, mask = torch.full((2, 3), 0.7, dtype=F), torch.tensor([True, False, False])
    run = Diffusion(model, layout, NoiseSource(0, [0, 1]))
    x = kernel.prior(layout).sample(run.noise)
    restart = Restart(Ancestral(), ((0.2, 0.6, 3),))
    *_, last = walk(restart, run, x, grids.uniform.times(kernel, 5), Observation(value, mask))
    assert torch.equal(last.x[:, 0], value[:, 0])
    tokens = CategoricalKernel(Tokens(3), Absorbing(2))
    layout = Layout.dense(2, (4,), dtype=torch.int64)
    oracle = PmfOracle(tokens, torch.full((2, 2, 2, 2), 1 / 16, dtype=F))
    run = Diffusion(oracle, layout, NoiseSource(0, [0, 1]))
    restart = Restart(Cached(), ((0.0, 0.5, 2),))
    *_, last = restart(run, tokens.prior(layout).sample(run.noise), grids.uniform.times(tokens, 6))
    assert bool((last.x < 2).all())
    with pytest.raises(IncompatibleSampler):
        restart.check(kernel)


@pytest.mark.parametrize(
    "intervals",
    [
        ((0.5, 0.5, 1),),
        ((-0.1, 0.5, 1),),
        ((0.1, 1.5, 1),),
        ((0.1, 0.5, -1),),
        ((0.1, 0.5, 1), (0.4, 0.8, 1)),
    ],
)
def test_intervals_that_do_not_fit(intervals):
    with pytest.raises(ConfigError):
        Restart(DDIM(), intervals)
