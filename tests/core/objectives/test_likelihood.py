"""The exact likelihood against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unnoise.errors import ConfigError, InputError, LimitExceeded, NonFiniteError
from unnoise.kernels import (
    VE,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Geometric,
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
    ExactTrace,
    Hutchinson,
    Quantised,
    bits_per_dimension,
    level_likelihood,
    log_likelihood,
)
from unnoise.samplers import AdaptiveODE, Diffusion
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM
from unnoise.spaces.ode import Point, integrate
from unnoise.testing import FiniteOracle, GaussianOracle, MixtureOracle, PmfOracle

F64 = torch.float64


def normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance))


def hermite(n):
    """Nodes and weights of an expectation over N(0, 1)."""
    z, w = np.polynomial.hermite_e.hermegauss(n)
    return torch.tensor(z), torch.tensor(w / w.sum())


def dense(x):
    return Layout.dense(len(x), x.shape[1:], dtype=x.dtype)


def likelihood(denoiser, x, layout=None, **options):
    layout = dense(x) if layout is None else layout
    return log_likelihood(
        Diffusion(denoiser, layout, NoiseSource(0, range(layout.batch))), x, **options
    )


def test_the_schedule_of_the_reference():
    assert VPLinear().alpha(1.0) ** 2 == pytest.approx(4.3186e-5, rel=1e-4)


@pytest.mark.parametrize(
    "schedule", [VPLinear(), SubVP(), VE(), VPCosine(), Linear(), Geometric(), BetaTable.linear()]
)
@pytest.mark.parametrize(
    ("mean", "variance", "nll"),
    [(0.0, 0.25, 0.725791353), (0.3, 0.49, 0.5 * math.log(2 * math.pi * math.e * 0.49))],
)
def test_mean_nll_of_gaussian_data(schedule, mean, variance, nll):
    z, w = hermite(8)
    x = mean + variance**0.5 * z[:, None]
    found = likelihood(GaussianOracle(GaussianKernel(Euclidean(), schedule), mean, variance), x)
    # beta of a table is a staircase in t, whose steps the integrator does not resolve
    tolerance = 1e-4 if schedule.steps is None else 3e-4
    assert -(w * found.nats).sum().item() == pytest.approx(nll, abs=tolerance)
    assert found.estimator == "exact trace"
    assert found.eps == (1e-5 if schedule.steps is None else 1e-3)


def test_each_density_and_its_code():
    """Pointwise: log p_eps(x), and x(1) = x(eps) sqrt(v_1 / v_eps)."""
    schedule, x = VPLinear(), torch.linspace(-1.5, 1.5, 7, dtype=F64)[:, None]
    kernel = GaussianKernel(Euclidean(), schedule)
    found = likelihood(GaussianOracle(kernel, 0.0, 0.25), x, eps=1e-3, tolerance=1e-7)
    v0, v1 = (0.25 * schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2 for t in (1e-3, 1.0))
    torch.testing.assert_close(found.latent, x * (v1 / v0) ** 0.5, atol=1e-6, rtol=0)
    prior = schedule.sigma(1.0) ** 2  # not quite v1
    prior_error = normal(found.latent[:, 0], 0, prior) - normal(found.latent[:, 0], 0, v1)
    exact = normal(x[:, 0], 0, v0) + prior_error
    torch.testing.assert_close(found.nats, exact, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.nats, found.prior + found.divergence)


def test_the_ode_is_a_flow_that_is_inverted():
    """From data to their codes, and back by the sampler, of a mixture that the ODE bends."""
    means = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=F64)
    kernel = GaussianKernel(Euclidean(), VPLinear())
    oracle = MixtureOracle(kernel, torch.tensor([0.3, 0.7]), means, torch.tensor([0.2, 0.4]))
    x = torch.tensor([[-1.0, 0.5], [0.8, 0.0], [0.0, 0.2], [-0.5, 1.0]], dtype=F64)
    code = likelihood(oracle, x, eps=1e-3, tolerance=1e-7).latent
    assert (code - x).abs().max() > 0.3
    run = Diffusion(oracle, dense(x), NoiseSource(0, range(4)))
    sampler = AdaptiveODE(rtol=1e-7, atol=1e-7)
    (step,) = sampler(run, code, torch.tensor([1.0, 1e-3], dtype=F64))
    torch.testing.assert_close(step.x, x, atol=1e-5, rtol=0)


def test_a_mixture_in_two_dimensions():
    weights, stds = torch.tensor([0.3, 0.7], dtype=F64), torch.tensor([0.2, 0.4], dtype=F64)
    means = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=F64)
    x = torch.tensor([[-1.0, 0.5], [0.8, 0.0], [0.0, 0.2], [-0.5, 1.0]], dtype=F64)
    kernel = GaussianKernel(Euclidean(), VPLinear())
    found = likelihood(MixtureOracle(kernel, weights, means, stds), x, tolerance=1e-6)

    def log_p(x, t):
        a, v = kernel.schedule.alpha(t), kernel.schedule.sigma(t) ** 2
        return torch.stack(
            [
                w.log() + normal(x, a * m, (a * float(s)) ** 2 + v).sum(1)
                for w, m, s in zip(weights, means, stds, strict=True)
            ]
        ).logsumexp(0)

    # the model starts from the prior, the data end near it
    exact = log_p(x, 1e-5) + found.prior - log_p(found.latent, 1.0)
    torch.testing.assert_close(found.nats, exact, atol=1e-4, rtol=0)


def correlated(d):
    a = torch.randn(d, d, generator=torch.Generator().manual_seed(3), dtype=F64)
    return 0.05 * torch.eye(d, dtype=F64) + 0.3 * a @ a.mT / d


def test_correlated_data_and_the_hutchinson_estimator():
    d, n = 4, 400
    c = correlated(d)
    oracle = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), torch.zeros(d), c)
    point = torch.tensor([0.3, -0.5, 0.1, 0.2], dtype=F64)
    exact = torch.distributions.MultivariateNormal(torch.zeros(d, dtype=F64), c).log_prob(point)
    one = likelihood(oracle, point[None], trace=ExactTrace())
    assert one.nats.item() == pytest.approx(exact.item(), abs=1e-3)
    many = likelihood(oracle, point.expand(n, d), trace=Hutchinson(), tolerance=1e-4)
    error = many.nats.std().item() / n**0.5
    assert 0.001 < error < 0.1
    assert many.nats.mean().item() == pytest.approx(exact.item(), abs=4 * error)
    assert "Hutchinson" in many.estimator
    four = likelihood(oracle, point.expand(n, d), trace=Hutchinson(4), tolerance=1e-4)
    assert four.nats.std() < 0.7 * many.nats.std()


def test_the_probe_is_drawn_once_for_a_solve():
    class Counting(NoiseSource):
        calls = 0

        def uniform(self, layout):
            self.calls += 1
            return super().uniform(layout)

    x = torch.tensor([[0.1, 0.2], [0.5, -0.3]], dtype=F64)
    noise = Counting(0, range(2))
    oracle = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 0.25)
    found = log_likelihood(Diffusion(oracle, dense(x), noise), x, trace=Hutchinson())
    assert noise.calls == 1
    assert found.evaluations > 20


@pytest.mark.parametrize("kind", ["ragged", "padded"])
def test_centred_points_have_fewer_dimensions(kind):
    """3 (n - 1) of them: the density of positions up to translation."""
    counts, variance = [1, 2, 4], 0.3
    noise = NoiseSource(5, range(3))
    if kind == "ragged":
        layout = Layout.ragged(counts, (3,), dtype=F64)
    else:
        mask = torch.arange(4) < torch.tensor(counts)[:, None]
        layout = Layout.dense(3, (4, 3), mask=mask, dtype=F64)
    space = ZeroCoM()
    x = space.project(noise.normal(layout) * variance**0.5, layout)
    oracle = GaussianOracle(GaussianKernel(space, VPLinear()), 0.0, variance)
    dim = 3.0 * (torch.tensor(counts) - 1)
    exact = -0.5 * (layout.sum(x**2) / variance + dim * math.log(2 * math.pi * variance))
    found = likelihood(oracle, x, layout)
    torch.testing.assert_close(found.nats, exact, atol=1e-3, rtol=0)
    assert found.nats[0].item() == pytest.approx(0, abs=1e-9)
    totals = [
        log_likelihood(
            Diffusion(oracle, layout, NoiseSource(s, range(3))),
            x,
            trace=Hutchinson(2),
            tolerance=1e-3,
        ).nats
        for s in range(8)
    ]
    spread = torch.stack(totals).std(0) / 8**0.5
    assert bool(((torch.stack(totals).mean(0) - exact).abs() <= 5 * spread + 1e-2).all())


def test_neighbours_do_not_matter():
    oracle = MixtureOracle(
        GaussianKernel(Euclidean(), VPLinear()),
        torch.tensor([0.3, 0.7]),
        torch.tensor([[-1.0], [0.8]]),
        torch.tensor([0.1, 0.4]),
    )
    x = torch.tensor([[-1.0], [0.4], [3.0]], dtype=F64)
    together = likelihood(oracle, x, trace=Hutchinson(), tolerance=1e-3).nats
    for i in range(3):
        alone = log_likelihood(
            Diffusion(oracle, dense(x[:1]), NoiseSource(0, [i])),
            x[i : i + 1],
            trace=Hutchinson(),
            tolerance=1e-3,
        )
        torch.testing.assert_close(alone.nats, together[i : i + 1], atol=1e-9, rtol=0)


def test_change_of_variables():
    """x = 0.5 y: p(y) = p(x) / 2 in each of two dimensions."""
    x = torch.tensor([[0.2, -0.4]], dtype=F64)
    oracle = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 0.25)
    change = Continuous(unit=0.5).change(Euclidean(), dense(x))
    found = likelihood(oracle, x, change=change)
    exact = normal(2 * x, 0.0, 1.0).sum(1)
    torch.testing.assert_close(found.nats, exact, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.change, torch.tensor([2 * math.log(0.5)], dtype=F64))


def test_dequantised_levels_get_a_bound_of_their_probability():
    """Under N(0, .25), a level's probability is the mass of its bin; Jensen's gap is small."""
    data, kernel = Quantised(), GaussianKernel(Euclidean(), VPLinear())
    levels = torch.tensor([0, 40, 128, 200])
    n = 64
    x = (levels / 127.5 - 1).double().repeat(n)[:, None]
    noise = NoiseSource(1, range(len(x)))
    noisy, change = data.prepare(x, Euclidean(), dense(x), noise)
    assert (noisy - x).abs().max() <= data.step / 2
    found = likelihood(GaussianOracle(kernel, 0.0, 0.25), noisy, change=change, tolerance=1e-4)
    cdf = torch.distributions.Normal(0.0, 0.5).cdf
    edge = levels / 127.5 - 1
    exact = (cdf(edge + data.step / 2) - cdf(edge - data.step / 2)).log().double()
    mean = found.nats.view(n, 4).mean(0)
    torch.testing.assert_close(mean, exact, atol=5e-3, rtol=0)
    bits = bits_per_dimension(
        -(found.nats - change), Dequantised(), noisy, Euclidean(), dense(noisy)
    )
    torch.testing.assert_close(bits, -found.nats / math.log(2))


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine()])
def test_levels_through_the_noise_of_the_process(schedule):
    """Data on 5 levels with known probabilities, and the exact denoiser of these: a lower bound of
    log P, tight up to the decoder, which takes no account of the other levels."""
    data, n = Quantised(levels=5), 60
    p = torch.tensor([0.4, 0.1, 0.2, 0.25, 0.05])
    states = [torch.tensor([-1 + k / 2], dtype=F64) for k in range(5)]
    oracle = FiniteOracle(GaussianKernel(Euclidean(), schedule), states, p)
    x0 = torch.linspace(-1, 1, 5, dtype=F64).repeat(n)[:, None]
    noise = NoiseSource(0, range(len(x0)))
    found = level_likelihood(Diffusion(oracle, dense(x0), noise), x0, data=data, tolerance=1e-4)
    rows = found.nats.view(n, 5)
    error = rows.std(0) / n**0.5
    gap = p.log() - rows.mean(0)
    assert bool((gap > -4 * error).all())
    assert float((p * gap).sum()) < 0.15
    width = schedule.sigma(found.eps) / schedule.alpha(found.eps)
    assert width == pytest.approx(0.5 / 12**0.5)
    with pytest.raises(InputError, match="levels"):
        level_likelihood(Diffusion(oracle, dense(x0), noise), x0 + 0.1, data=data)


def test_bad_input():
    x = torch.tensor([[0.5], [0.1]], dtype=F64)
    kernel = GaussianKernel(Euclidean(), VPLinear())
    oracle = GaussianOracle(kernel, 0.0, 0.25)
    tokens = CategoricalKernel(Tokens(4), Uniform(Linear()))
    pmf = PmfOracle(tokens, torch.tensor([0.5, 0.3, 0.15, 0.05]))
    token = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(InputError, match=r"Gaussian kernel.*bound"):
        likelihood(pmf, token, Tokens(4).layout(token))
    with pytest.raises(InputError, match="eps"):
        likelihood(oracle, x, eps=0.0)
    with pytest.raises(ConfigError, match="tolerance"):
        likelihood(oracle, x, tolerance=0.0)
    with pytest.raises(NonFiniteError):
        likelihood(oracle, x * math.nan)
    with pytest.raises(LimitExceeded, match="tolerance"):
        integrate(lambda x, t: Point(x, t), x, 0.0, 1.0, dense(x), rtol=1e-9, atol=1e-9, limit=50)
    with pytest.raises(ConfigError, match="probe"):
        Hutchinson(0)
    large = torch.zeros(1, 2000, dtype=F64)
    with pytest.raises(InputError, match="Hutchinson"):
        likelihood(oracle, large, trace=ExactTrace())


def test_a_field_that_is_not_finite():
    kernel = GaussianKernel(Euclidean(), VPLinear())

    class Broken(GaussianOracle.__mro__[1]):
        def __init__(self):
            super().__init__()
            self.kernel, self.inner = kernel, GaussianOracle(kernel, 0.0, 0.25)

        def forward(self, x_t, t, layout, condition=None):
            law = self.inner(x_t, t, layout)
            bad = layout.expand(torch.where(t > 0.3, math.nan, 1.0), x_t)
            return type(law)(law.mean * bad, law.std, law.space, law.layout)

    with pytest.raises(NonFiniteError, match=r"t = 0\.3"):
        likelihood(Broken(), torch.tensor([[0.5]], dtype=F64))
