"""The bound with a continuous clock, and the times at which it is evaluated."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.errors import ConfigError, InputError
from unnoise.kernels import BetaTable, GaussianKernel, Linear, SubVP, VPCosine, VPLinear
from unnoise.noise import NoiseSource
from unnoise.objectives import ImportanceTimes, UniformTimes, sde_bound
from unnoise.samplers import Diffusion
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle, MixtureOracle

F64 = torch.float64


class Nodes(NoiseSource):
    """The nodes +-1 of the two-point quadrature in place of normal numbers, exact for squares; and
    the middle of every stratum in place of uniform ones."""

    def __init__(self, batch):
        super().__init__(0, range(batch))

    def normal(self, layout):
        signs = 1.0 - 2 * (torch.arange(layout.shape[0]) % 2)
        return signs.to(layout.dtype).view(-1, *(1,) * (len(layout.shape) - 1)).expand(layout.shape)

    def uniform(self, layout):
        return torch.full(layout.shape, 0.5, dtype=F64)


def gaussian(schedule):
    return GaussianKernel(Euclidean(), schedule)


def dense(x):
    return Layout.dense(len(x), x.shape[1:], dtype=x.dtype)


def log_normal(x, variance):
    return -0.5 * (x**2 / variance + math.log(2 * math.pi * variance))


@pytest.mark.parametrize(
    ("schedule", "eps", "z"),
    [
        (VPLinear(), 1e-5, 23.864472),
        (VPLinear(), 1e-3, 19.165387),
        (SubVP(), 1e-5, 37.678946),
        (SubVP(), 1e-3, 28.280883),
        (VPCosine(-9.0, 9.0), 1e-5, None),
    ],
)
def test_importance_times(schedule, eps, z):
    times = ImportanceTimes(eps)
    if z is None:  # gamma = 2 log tan of an angle that is linear in t
        begin = 2 * math.log(
            math.tan(math.atan(math.exp(-4.5)) * (1 - 2 * eps) + eps * math.pi / 2)
        )
        z = 9.0 - begin
    assert times.normaliser(schedule) == pytest.approx(z, abs=1e-6)
    u = torch.linspace(0, 1, 1001, dtype=F64)
    t = times.times(schedule, u)
    assert float((times.cdf(schedule, t) - u).abs().max()) < 1e-8
    assert float((times.times(schedule, times.cdf(schedule, t)) - t).abs().max()) < 1e-8
    assert t[0].item() == pytest.approx(eps, rel=1e-6)
    assert t[-1].item() == pytest.approx(1)
    # the density is the derivative of the distribution function
    middle = t[1:-1]
    h = 1e-4 * middle
    slope = (times.cdf(schedule, middle + h) - times.cdf(schedule, middle - h)) / (2 * h)
    torch.testing.assert_close(times.density(schedule, middle), slope, rtol=2e-4, atol=0)


def wrong(kernel):
    return MixtureOracle(
        kernel, torch.tensor([0.5, 0.5]), torch.tensor([[-1.0], [1.0]]), torch.tensor([0.3, 0.2])
    )


@pytest.mark.parametrize("schedule", [VPLinear(), SubVP()])
@pytest.mark.parametrize(("variance", "point"), [(0.25, 0.3), (0.04, -0.45)])
def test_the_bound_of_the_sde_is_the_likelihood_for_the_exact_score(schedule, variance, point):
    x = torch.full((2, 1), point, dtype=F64)
    kernel = gaussian(schedule)
    found = sde_bound(
        Diffusion(GaussianOracle(kernel, 0.0, variance), dense(x), Nodes(2)), x, evaluations=100
    )
    a, s = schedule.alpha(1.0) ** 2, schedule.sigma(1.0) ** 2
    v1 = variance * a + s
    extra = 0.5 * (math.log(s / v1) + (a * point**2 + s) * (1 / s - 1 / v1))
    exact = -log_normal(torch.tensor(point), variance).item() + extra
    assert found.total.mean().item() == pytest.approx(exact, abs=2e-4)


@pytest.mark.parametrize("schedule", [VPLinear()])
def test_a_wrong_score_and_the_variance_of_importance_sampling(schedule):
    """The bound of a wrong score is above the truth on average over the data; both ways to draw
    the times have the same mean, and importance sampling less variance."""
    n = 2000
    kernel = gaussian(schedule)
    x = 0.5 * torch.randn(n, 1, dtype=F64, generator=torch.Generator().manual_seed(0))
    truth = -log_normal(x[:, 0], 0.25)
    found = {
        times: sde_bound(
            Diffusion(wrong(kernel), dense(x), NoiseSource(1, range(n))),
            x,
            times=times,
            evaluations=4,
        )
        for times in (ImportanceTimes(), UniformTimes())
    }
    important, even = found.values()
    gap = important.total - truth
    assert gap.mean().item() > 5 * gap.std().item() / n**0.5
    exact = sde_bound(
        Diffusion(GaussianOracle(kernel, 0.0, 0.25), dense(x), NoiseSource(1, range(n))),
        x,
        evaluations=4,
    )
    assert important.total.mean() > exact.total.mean()
    error = ((important.steps.var() + even.steps.var()) / n).sqrt().item()
    assert important.steps.mean().item() == pytest.approx(even.steps.mean().item(), abs=4 * error)
    assert important.steps.var() < 0.5 * even.steps.var()
    claimed = important.standard_error.square().mean()
    assert claimed < 0.25 * even.standard_error.square().mean()


def test_bad_input_of_the_sde_bound():
    x = torch.full((2, 1), 0.3, dtype=F64)
    noise = NoiseSource(0, range(2))
    table = GaussianOracle(gaussian(BetaTable.linear()), 0.0, 0.25)
    with pytest.raises(InputError, match="continuous clock"):
        sde_bound(Diffusion(table, dense(x), noise), x)
    straight = GaussianOracle(gaussian(Linear()), 0.0, 0.25)
    with pytest.raises(ConfigError, match="UniformTimes"):
        sde_bound(Diffusion(straight, dense(x), noise), x)
    with pytest.raises(InputError, match="evaluations"):
        sde_bound(
            Diffusion(GaussianOracle(gaussian(VPLinear()), 0.0, 0.25), dense(x), noise),
            x,
            evaluations=0,
        )
    with pytest.raises(ConfigError, match="eps"):
        ImportanceTimes(0.0)
