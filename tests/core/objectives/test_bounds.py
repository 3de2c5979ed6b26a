"""The variational bound by term, its discretised decoder and its continuous limit."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.distributions import Gaussian
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    SubVP,
    Uniform,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    Continuous,
    Dequantised,
    ImportanceTimes,
    Quantised,
    UniformTimes,
    bits_per_dimension,
    bound,
    sde_bound,
)
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import GaussianOracle, MixtureOracle, PmfOracle, PointEstimate

F64 = torch.float64
LN2 = math.log(2)


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


# --- DDPM ------------------------------------------------------------------------------------


def test_constants_of_ddpm():
    schedule = BetaTable.linear()
    assert schedule.alpha(1.0) ** 2 == pytest.approx(4.0358e-5, rel=2e-5)
    x = torch.zeros(1, 1, dtype=F64)
    oracle = PointEstimate(GaussianOracle(gaussian(schedule), 0.0, 0.25))
    step = gaussian(schedule).reverse(x, oracle(x, 0.002, dense(x)), 0.002, 0.001, dense(x))
    assert step.std**2 == pytest.approx(5.4532e-5, rel=2e-5)


@pytest.mark.parametrize(
    ("square", "bits", "digits"), [(1.0, 2.911e-5, 5e-9), (0.25, 7.28e-6, 5e-9), (4.0, None, 1e-9)]
)
def test_prior_term_of_ddpm(square, bits, digits):
    schedule = BetaTable.linear()
    x = torch.full((2, 3), square**0.5, dtype=F64)
    oracle = GaussianOracle(gaussian(schedule), 0.0, 0.25)
    found = bound(oracle, x, dense(x), NoiseSource(0, range(2)), steps=1000, evaluations=1)
    # from N(alpha x, sigma^2) to the prior N(0, sigma^2), whose variance is 1 - alpha^2
    a = schedule.alpha(1.0) ** 2
    exact = a * square / (1 - a) / 2 / LN2 if bits is None else bits
    per_dimension = bits_per_dimension(found.prior, Continuous(), x, Euclidean(), dense(x))
    assert per_dimension.tolist() == pytest.approx([exact] * 2, abs=digits)


# --- terms and standard error ----------------------------------------------------------------


@pytest.mark.parametrize("schedule", [VPCosine(-10.0, 10.0), SubVP()])
@pytest.mark.parametrize("evaluations", [None, 5])
def test_an_exact_law_reaches_the_likelihood_at_every_step_count(schedule, evaluations):
    """With the exact N(mean, variance) of x_0 given x_t the reverse chain is the exact one."""
    n, point = 1000, 0.7
    x = torch.full((n, 1), point, dtype=F64)
    oracle = GaussianOracle(gaussian(schedule), 0.0, 0.25)
    noise = NoiseSource(1, range(n))
    found = bound(oracle, x, dense(x), noise, steps=12, evaluations=evaluations)
    a, s = schedule.alpha(1.0), schedule.sigma(1.0)
    prior = 0.5 * (a * point / s) ** 2
    assert found.prior[0].item() == pytest.approx(prior, rel=1e-9)
    # the chain starts from N(0, s^2), the data end in N(0, a^2 / 4 + s^2)
    v1 = 0.25 * a**2 + s**2
    extra = 0.5 * (math.log(s**2 / v1) + (a**2 * point**2 + s**2) * (1 / s**2 - 1 / v1))
    exact = -log_normal(torch.tensor(point), 0.25).item() + extra
    error = found.total.std().item() / n**0.5
    assert found.total.mean().item() == pytest.approx(exact, abs=4 * error)
    if evaluations is None:
        # what it says of itself is what it does
        claimed = found.standard_error.square().mean().sqrt().item()
        assert 0.8 < claimed / found.total.std().item() < 1.3


def test_last_step_of_a_point_prediction():
    """N(mean, (sigma / alpha)^2) at the first time above 0."""
    n, schedule = 4000, VPLinear()
    x = torch.full((n, 1), 0.4, dtype=F64)
    oracle = PointEstimate(GaussianOracle(gaussian(schedule), 0.0, 0.25))
    found = bound(oracle, x, dense(x), NoiseSource(0, range(n)), steps=20, evaluations=2)
    a, s = schedule.alpha(0.05), schedule.sigma(0.05)
    gain = 0.25 * a / (0.25 * a**2 + s**2)
    square = (gain * s) ** 2 + ((1 - gain * a) * 0.4) ** 2
    exact = 0.5 * (square * (a / s) ** 2 + math.log(2 * math.pi * (s / a) ** 2))
    error = found.reconstruction.std().item() / n**0.5
    assert found.reconstruction.mean().item() == pytest.approx(exact, abs=4 * error)
    assert found.evaluations == 6


def token_bound(posterior, steps, n=2500):
    pmf = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=F64)
    kernel = CategoricalKernel(Tokens(4), Uniform(Linear(0.001)), posterior)
    noise = NoiseSource(0, range(n))
    x = torch.multinomial(pmf, n, True, generator=torch.Generator().manual_seed(0))[:, None]
    layout = Tokens(4).layout(x)
    return pmf, kernel, bound(PmfOracle(kernel, pmf), x, layout, noise, steps=steps)


@pytest.mark.parametrize(
    ("posterior", "steps", "nats"),
    [("mixture", 4, 1.142120273), ("mixture", 9, 1.142120273), ("joint", 4, 1.247071)],
)
def test_the_bound_of_a_token(posterior, steps, nats):
    """1.142120273 = H + KL(q_1 | prior) at every T for the exact posterior."""
    _, _, found = token_bound(posterior, steps)
    error = found.total.std().item() / len(found.total) ** 0.5
    if posterior == "joint":  # the last step decodes with that posterior too
        nats = 1.517642
    assert found.total.mean().item() == pytest.approx(nats, abs=4 * error)
    assert bool((found.standard_error >= 0).all())


# --- data types ------------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "std"), [(0.1, 0.2), (0.9, 0.01), (-3.0, 0.05), (0.0, 30.0)])
def test_the_discretised_decoder_is_a_distribution(mean, std):
    data = Quantised()
    levels = (torch.arange(256, dtype=F64) / 127.5 - 1)[:, None]
    law = Gaussian(torch.full_like(levels, mean).requires_grad_(), std)
    logs = data.log_prob(law, levels, dense(levels))
    assert logs.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    (gradient,) = torch.autograd.grad(logs.sum(), law.mean)
    assert bool(torch.isfinite(logs).all())
    assert bool(torch.isfinite(gradient).all())
    # half a bin is 1/255, and the edge bins take the tails
    cdf = torch.distributions.Normal(*torch.tensor([mean, std], dtype=F64)).cdf
    low, high = cdf(levels - 1 / 255), cdf(levels + 1 / 255)
    low[0], high[-1] = 0.0, 1.0
    near = (high - low)[:, 0] > 1e-8
    torch.testing.assert_close(logs.exp()[near], (high - low)[near, 0], rtol=1e-6, atol=0)


def test_the_discretised_decoder_of_the_bound():
    """A point prediction gets betatilde of the second step, DDPM's first entry."""
    levels = torch.tensor([100, 101, 0, 255]).repeat(500)
    x = (levels / 127.5 - 1).double()[:, None]
    kernel, data = gaussian(BetaTable.linear()), Quantised()
    oracle = PointEstimate(GaussianOracle(kernel, 0.0, 0.25))
    noise = NoiseSource(0, range(len(x)))
    found = bound(oracle, x, dense(x), noise, evaluations=1, data=data)
    a, s = kernel.schedule.alpha(0.001), kernel.schedule.sigma(0.001)
    z = torch.randn(200_000, dtype=F64, generator=torch.Generator().manual_seed(0))
    for k, level in enumerate(x[:4, 0].tolist()):
        mean = 0.25 * a / (0.25 * a**2 + s**2) * (a * level + s * z)
        law = Gaussian(mean[:, None], 5.4532e-5**0.5)
        exact = -data.log_prob(law, torch.full((len(z), 1), level, dtype=F64), dense(z[:, None]))
        rows = found.reconstruction[k::4]
        error = rows.std().item() / len(rows) ** 0.5
        assert rows.mean().item() == pytest.approx(exact.mean().item(), abs=4 * error + 1e-3)


def test_bits_per_dimension_needs_the_type():
    """Uniform on the 256 levels: 8 bits, whichever way it is said."""
    space = Euclidean()
    levels = torch.arange(256, dtype=F64).repeat(8).view(4, 512)
    data = Quantised()
    x = levels / 127.5 - 1
    layout = dense(x)
    noisy, change = data.prepare(x, space, layout, NoiseSource(0, range(4)))
    density = torch.full((4,), 512 * math.log(256 * data.step), dtype=F64)
    torch.testing.assert_close(change, torch.full((4,), 512 * math.log(data.step), dtype=F64))
    eight = torch.full((4,), 8.0, dtype=F64)
    found = bits_per_dimension(density, Dequantised(), noisy, space, layout)
    torch.testing.assert_close(found, eight)
    found = bits_per_dimension(torch.full((4,), 512 * 8 * LN2), data, x, space, layout)
    torch.testing.assert_close(found, eight)
    in_levels = Continuous(unit=data.step)
    torch.testing.assert_close(bits_per_dimension(density, in_levels, noisy, space, layout), eight)
    for kind in (Dequantised(), Continuous()):
        with pytest.raises(InputError, match="Quantised"):
            bits_per_dimension(density, kind, x, space, layout)
    with pytest.raises(InputError, match="levels"):
        bits_per_dimension(density, data, noisy, space, layout)
    with pytest.raises(InputError, match="levels"):
        bits_per_dimension(density, data, x + 2, space, layout)
    with pytest.raises(ConfigError, match="levels"):
        Quantised(1)
    with pytest.raises(ConfigError, match="unit"):
        Continuous(0.0)


def test_the_bound_refuses_rounded_values_as_a_density():
    x = (torch.randint(0, 256, (4, 512)) / 127.5 - 1).double()
    oracle = GaussianOracle(gaussian(VPLinear()), 0.0, 0.25)
    with pytest.raises(InputError, match="rounded"):
        bound(oracle, x, dense(x), NoiseSource(0, range(4)), data=Continuous())


# --- continuous time -------------------------------------------------------------------------


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
    found = sde_bound(GaussianOracle(kernel, 0.0, variance), x, dense(x), Nodes(2), evaluations=100)
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
            wrong(kernel), x, dense(x), NoiseSource(1, range(n)), times=times, evaluations=4
        )
        for times in (ImportanceTimes(), UniformTimes())
    }
    important, even = found.values()
    gap = important.total - truth
    assert gap.mean().item() > 5 * gap.std().item() / n**0.5
    exact = sde_bound(
        GaussianOracle(kernel, 0.0, 0.25), x, dense(x), NoiseSource(1, range(n)), evaluations=4
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
        sde_bound(table, x, dense(x), noise)
    straight = GaussianOracle(gaussian(Linear()), 0.0, 0.25)
    with pytest.raises(ConfigError, match="UniformTimes"):
        sde_bound(straight, x, dense(x), noise)
    with pytest.raises(InputError, match="evaluations"):
        sde_bound(
            GaussianOracle(gaussian(VPLinear()), 0.0, 0.25), x, dense(x), noise, evaluations=0
        )
    with pytest.raises(ConfigError, match="eps"):
        ImportanceTimes(0.0)
