"""Variances of x_0 that make reverse steps optimal, or DDPM's."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from unnoise.denoise import AnalyticVariance, UnitVariance, analytic, analytic_variance
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    VE,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    Uniform,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import GaussianOracle, MixtureOracle, PmfOracle, PointEstimate

F64 = torch.float64
COUNTS = (2, 5, 10, 25, 50, 100, 1000)


class Signs(NoiseSource):
    """+-1 in place of normal numbers: exact for the mean of a square."""

    def normal(self, layout):
        return (1.0 - 2 * (torch.arange(layout.batch, dtype=F64) % 2)).view(layout.shape)


def data(variance, n=4):
    x0 = variance**0.5 * (1.0 - torch.arange(n, dtype=F64) // 2 % 2 * 2)[:, None]
    return [Batch(x0, Layout.dense(n, (1,), dtype=F64))]


def kernel(schedule):
    return GaussianKernel(Euclidean(), schedule)


def final_variance(denoiser, times, noisy_end=False):
    """Variance of the chain's end: for linear denoisers x_s = a x_t + b z, step by step."""
    layout, one = Layout.dense(1, (1,), dtype=F64), torch.ones(1, 1, dtype=F64)
    variance = denoiser.kernel.prior(layout).std ** 2
    for t, s in pairwise(times):
        q = denoiser.kernel.reverse(one, denoiser(one, t, layout), t, s, layout)
        b = float(torch.as_tensor(q.std).max()) if s > 0 or noisy_end else 0.0
        variance = q.mean.item() ** 2 * variance + b**2
    return variance


def steps(count):
    """round(1 + 999 i / (K - 1)) descending, then 0."""
    grid = [round(1 + 999 * i / (count - 1)) for i in range(count)]
    return [i / 1000 for i in [*grid[::-1], 0]]


@pytest.fixture(scope="module")
def estimated():
    """Gamma of N(0, .25) from the shipped estimator, with exact means over data and noise."""
    oracle = PointEstimate(GaussianOracle(kernel(BetaTable.linear()), 0.0, 0.25))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analytic, "NoiseSource", Signs)
        return {
            kind: analytic_variance(oracle, data(0.25), statistic=kind)
            for kind in ("noise", "error")
        }


@pytest.mark.parametrize(
    ("count", "small", "large"),
    [
        (2, 1.0e-4, 0.99926),
        (5, 0.04399, 0.55836),
        (10, 0.10422, 0.35852),
        (25, 0.16337, 0.28784),
        (50, 0.19642, 0.26788),
        (100, 0.21898, 0.25866),
        (1000, 0.24613, 0.25075),
    ],
)
def test_final_variance_of_the_three_choices(count, small, large, estimated):
    """betatilde, beta and the optimum for N(0, .25) and DDPM's table: METHODS' rows."""
    point = PointEstimate(GaussianOracle(kernel(BetaTable.linear()), 0.0, 0.25))
    grid = steps(count)
    assert final_variance(point, grid) == pytest.approx(small, abs=1e-5)
    assert final_variance(UnitVariance(point), grid) == pytest.approx(large, abs=1e-5)
    for law in estimated.values():
        assert final_variance(law, grid) == pytest.approx(0.2499, abs=1e-6)
        # what the chain loses by starting from N(0, 1 - abar) is of order abar
        assert final_variance(law, grid, noisy_end=True) == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("count", [2, 7, 40])
def test_another_setting(count):
    """N(0, 2) on the cosine schedule: the optimum reaches the data's variance at every count, from
    a table of 2,000 times; betatilde stays below."""
    oracle = PointEstimate(GaussianOracle(kernel(VPCosine(-12.0, 12.0)), 0.0, 2.0))
    grid = torch.linspace(1, 0, count + 1).tolist()
    times = torch.linspace(0, 1, 2001, dtype=F64)[1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analytic, "NoiseSource", Signs)
        law = analytic_variance(oracle, data(2.0), times=times)
    assert final_variance(law, grid, noisy_end=True) == pytest.approx(2.0, abs=1e-3)
    assert final_variance(oracle, grid) < 2.0


@pytest.mark.parametrize("schedule", [VPLinear(), VE(), Linear()])
def test_estimate_from_random_data(schedule):
    """v(t) = E Var[x_0 | x_t] of a mixture, from 3,000 samples of it; on VE and where alpha
    reaches 0 too."""
    n = 3000
    generator = torch.Generator().manual_seed(0)
    x0 = torch.where(torch.rand(n, 1, generator=generator) < 0.3, -1.0, 0.8).double()
    x0 = x0 + 0.3 * torch.randn(n, 1, generator=generator, dtype=F64)
    oracle = MixtureOracle(
        kernel(schedule),
        torch.tensor([0.3, 0.7]),
        torch.tensor([[-1.0], [0.8]]),
        torch.full((2,), 0.3),
    )
    layout = Layout.dense(n, (1,), dtype=F64)
    times = torch.tensor([0.1, 0.3, 0.6, 1.0], dtype=F64)
    law = analytic_variance(oracle, [Batch(x0, layout)], times=times, statistic="error")
    for t in times.tolist():
        x_t = oracle.kernel.marginal(x0, t, layout).sample(NoiseSource(7, range(n)))
        exact = (oracle(x_t, t, layout).std ** 2).mean().item()
        assert law.std(t) ** 2 == pytest.approx(exact, rel=0.1)
    several = law.std(times)
    assert several.tolist() == pytest.approx([law.std(t) for t in times.tolist()])
    between = law.std(0.2)
    assert min(law.std(0.1), law.std(0.3)) < between < max(law.std(0.1), law.std(0.3))


def test_limits_of_the_variance():
    """Not above (b - a)/2; Gamma above 1 is no variance at all."""
    oracle = PointEstimate(GaussianOracle(kernel(VPLinear()), 0.0, 0.25))
    times = torch.tensor([0.1, 1.0], dtype=F64)
    clipped = AnalyticVariance(oracle, times, torch.tensor([1.0, 9.0]), largest=1.0)
    assert clipped.std(1.0) == 1.0
    assert AnalyticVariance(oracle, times, torch.tensor([1.0, -0.2])).std(1.0) == 0.0
    bounded = analytic_variance(oracle, data(0.25), times=times, bounds=(-1.0, 1.0))
    assert bounded.analytic_largest.item() == 1.0


def test_the_table_is_a_part_of_the_weights():
    oracle = PointEstimate(GaussianOracle(kernel(VPLinear()), 0.0, 0.25))
    law = AnalyticVariance(
        oracle, torch.tensor([0.1, 1.0]), torch.tensor([0.7, 0.3]), largest=math.inf
    )
    again = AnalyticVariance.around(oracle, law.fields)
    again.load_state_dict(law.state_dict())
    for t in (0.05, 0.4, 1.0):
        assert again.std(t) == law.std(t)


def test_bad_input():
    oracle = PointEstimate(GaussianOracle(kernel(Linear()), 0.0, 0.25))
    with pytest.raises(InputError, match="no"):
        analytic_variance(oracle, [])
    with pytest.raises(InputError, match="error"):
        analytic_variance(oracle, data(0.25), times=torch.tensor([0.5, 1.0], dtype=F64))
    with pytest.raises(ConfigError, match="two times"):
        AnalyticVariance(oracle, torch.tensor([0.5]), torch.tensor([0.5]))
    pmf = PmfOracle(CategoricalKernel(Tokens(2), Uniform(Linear())), torch.tensor([0.5, 0.5]))
    with pytest.raises(ConfigError, match="GaussianKernel"):
        analytic_variance(pmf, data(0.25))
    with pytest.raises(ConfigError, match="GaussianKernel"):
        UnitVariance(pmf)
