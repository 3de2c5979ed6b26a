"""The oracles against dense linear algebra, quadrature, brute-force Bayes and each other."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import integrate, stats

from unnoise.distributions import Categorical, Dirac, Gaussian, Product
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    VE,
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Geometric,
    Linear,
    Matrices,
    ProductKernel,
    SubVP,
    Uniform,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import Ancestral, Diffusion, grids
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM
from unnoise.testing import (
    FiniteOracle,
    GaussianOracle,
    MixtureOracle,
    PmfOracle,
    PointEstimate,
    all_states,
    expectation,
)

F = torch.float64
SCHEDULES = [
    VPLinear(),
    VPCosine(),
    SubVP(),
    VE(),
    Linear(),
    Geometric(),
    BetaTable.linear(100),
]
MATRIX = torch.tensor([[1.0, 0.9, 0.2], [0.9, 2.0, -0.3], [0.2, -0.3, 0.5]], dtype=F)


def gaussian(schedule) -> GaussianKernel:
    return GaussianKernel(Euclidean(), schedule)


def dense_posterior(schedule, t, mean, covariance, x_t):
    """Mean and covariance of x_0 given x_t by conditioning the joint Gaussian (2d)."""
    a, s = schedule.alpha(t), schedule.sigma(t)
    eye = torch.eye(len(mean), dtype=F)
    joint = a**2 * covariance + s**2 * eye
    gain = torch.linalg.solve(joint, a * covariance).mT
    return mean + (x_t - a * mean) @ gain.mT, covariance - a * gain @ covariance


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("covariance", [0.3, MATRIX.diag(), MATRIX], ids=["number", "diag", "full"])
def test_gaussian_is_the_conditioned_joint(schedule, covariance):
    mean = torch.tensor([0.5, -1.0, 2.0], dtype=F)
    dense = torch.as_tensor(covariance, dtype=F)
    dense = dense * torch.eye(3, dtype=F) if dense.ndim < 2 else dense
    x = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.0, 4.0]], dtype=F)
    layout = Layout.dense(2, (3,), dtype=F)
    oracle = GaussianOracle(gaussian(schedule), mean, covariance)
    times = [0.03, 1.0]
    per_sample = oracle(x, torch.tensor(times, dtype=F), layout)
    for b, t in enumerate(times):
        expected, cov = dense_posterior(schedule, t, mean, dense, x)
        law = oracle(x, t, layout)
        std = cov.diagonal().clamp(min=0).sqrt()
        torch.testing.assert_close(law.mean, expected, rtol=1e-9, atol=1e-9)
        scale = law.std if isinstance(law.std, torch.Tensor) else torch.tensor(law.std, dtype=F)
        torch.testing.assert_close(scale.expand(2, 3), std.expand(2, 3), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(per_sample.mean[b], expected[b], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(per_sample.std[b].expand(3), std, rtol=1e-9, atol=1e-9)


def affine(denoiser, t, s, d):
    """x_s | x_t = A x_t + b + N(0, diag(std^2)), read off the shipped reverse step."""
    layout = Layout.dense(d + 1, (d,), dtype=F)
    x = torch.cat([torch.zeros(1, d, dtype=F), torch.eye(d, dtype=F)])
    law = denoiser.kernel.reverse(x, denoiser(x, t, layout), t, s, layout)
    offset = law.mean[0]
    noise = torch.as_tensor(law.scale, dtype=F).expand(d + 1, d)[0]
    return (law.mean[1:] - offset).mT, offset, noise


def through(denoiser, grid, d):
    """Exact mean and covariance at the end of ancestral sampling from the prior."""
    kernel = denoiser.kernel
    mean = torch.zeros(d, dtype=F)
    covariance = kernel.schedule.sigma(1.0) ** 2 * torch.eye(d, dtype=F)
    for t, s in itertools.pairwise(grid.tolist()):
        a, b, std = affine(denoiser, t, s, d)
        mean, covariance = a @ mean + b, a @ covariance @ a.mT + torch.diag(std**2)
    return mean, covariance


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("covariance", [0.25, torch.tensor([0.25, 4.0], dtype=F)])
def test_reverse_is_exact_at_any_number_of_steps(steps, covariance):
    # alpha(1) = 0: the prior is exactly q(x_1)
    oracle = GaussianOracle(gaussian(Linear()), torch.tensor([1.0, -2.0], dtype=F), covariance)
    mean, found = through(oracle, grids.uniform(oracle.kernel, steps), 2)
    torch.testing.assert_close(mean, torch.tensor([1.0, -2.0], dtype=F))
    exact = torch.as_tensor(covariance, dtype=F).expand(2).diag()
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-10)


def test_dropped_correlations_vanish_with_the_step():
    c = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F)
    oracle = GaussianOracle(gaussian(VPCosine()), 0.0, c)
    errors = [
        (through(oracle, grids.uniform(oracle.kernel, n), 2)[1] - c).abs().max().item()
        for n in (50, 100, 200)
    ]
    assert errors[0] < 0.05
    assert 1.8 < errors[0] / errors[1] < 2.2
    assert 1.8 < errors[1] / errors[2] < 2.2


def test_gaussian_on_centred_ragged_points():
    # data v P, P the centring projection
    kernel = GaussianKernel(ZeroCoM(), Linear())
    layout = Layout.ragged([2, 3], (2,), dtype=F)
    oracle = GaussianOracle(kernel, 0.0, 0.7)
    noise = NoiseSource(0, [0, 1])
    x_t = kernel.prior(layout).sample(noise)
    law = oracle(x_t, 0.4, layout)
    kernel.space.validate(law.mean, layout)
    assert law.std == pytest.approx(0.4 * math.sqrt(0.7 / (0.36 * 0.7 + 0.16)))
    torch.testing.assert_close(law.mean, x_t * 0.6 * 0.7 / (0.36 * 0.7 + 0.16))
    with pytest.raises(ConfigError, match="one number"):
        GaussianOracle(kernel, torch.zeros(2), torch.ones(2))


def test_gaussian_errors():
    kernel = gaussian(VE())
    with pytest.raises(ConfigError, match="GaussianKernel"):
        GaussianOracle(CategoricalKernel(Tokens(2), Uniform()), 0.0, 1.0)
    with pytest.raises(ConfigError, match="symmetric"):
        GaussianOracle(kernel, torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(ConfigError, match="negative"):
        GaussianOracle(kernel, 0.0, -1.0)
    with pytest.raises(ConfigError, match="negative"):
        GaussianOracle(kernel, torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ConfigError, match="number"):
        GaussianOracle(kernel, torch.zeros(2), torch.ones(3))


WEIGHTS, MEANS, STDS = [0.3, 0.7], [-1.0, 2.0], [0.4, 0.2]


@pytest.mark.parametrize("schedule", [VPLinear(), VE(), Linear()], ids=lambda s: type(s).__name__)
def test_mixture_is_bayes_rule_by_quadrature(schedule):
    oracle = MixtureOracle(
        gaussian(schedule), torch.tensor(WEIGHTS), torch.tensor(MEANS), torch.tensor(STDS)
    )
    for t, x in ((0.1, 0.2), (0.5, -0.6), (0.9, 1.3)):
        a, s = schedule.alpha(t), schedule.sigma(t)

        def density(x0, power, a=a, s=s, x=x):
            prior = sum(
                w * stats.norm.pdf(x0, m, d) for w, m, d in zip(WEIGHTS, MEANS, STDS, strict=True)
            )
            return x0**power * prior * stats.norm.pdf(x, a * x0, s)

        z, m1, m2 = (
            integrate.quad(density, -4, 5, (p,), points=[-1, 2, x / a], limit=400)[0]
            for p in range(3)
        )
        law = oracle(torch.tensor([x], dtype=F), t, Layout.dense(1, dtype=F))
        assert law.mean.item() == pytest.approx(m1 / z, abs=1e-5)  # the parameters are float32
        assert law.std.item() ** 2 == pytest.approx(m2 / z - (m1 / z) ** 2, abs=1e-5)


def test_mixture_weighs_whole_samples():
    # two modes that no single coordinate tells apart: (1, 1), (-1, -1) against (1, -1), (-1, 1)
    means = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=F)
    stds = torch.tensor([0.1, 0.1, 0.2, 0.3], dtype=F)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=F)
    kernel = gaussian(Linear())
    oracle = MixtureOracle(kernel, weights, means, stds)
    x, t = torch.tensor([[0.3, -0.1], [0.0, 0.5]], dtype=F), torch.tensor([0.5, 0.7], dtype=F)
    law = oracle(x, t, Layout.dense(2, (2,), dtype=F))
    for b in range(2):
        a, s = 1 - t[b].item(), t[b].item()
        total = a**2 * stds**2 + s**2
        r = weights / total * torch.exp(-((x[b] - a * means) ** 2).sum(1) / (2 * total))
        r = r / r.sum()
        local = means + (a * stds**2 / total)[:, None] * (x[b] - a * means)
        mean = r @ local
        variance = r @ (local**2 + (stds**2 * s**2 / total)[:, None]) - mean**2
        torch.testing.assert_close(law.mean[b], mean)
        torch.testing.assert_close(law.std[b], variance.sqrt())


def test_mixture_of_one_is_the_gaussian_and_of_points_the_finite_oracle():
    kernel = gaussian(VPLinear())
    x = torch.tensor([[0.3, -1.0], [2.0, 0.5]], dtype=F)
    t, layout = torch.tensor([0.3, 0.8], dtype=F), Layout.dense(2, (2,), dtype=F)
    m, v = torch.tensor([1.0, 2.0], dtype=F), torch.tensor([0.3, 0.4], dtype=F)
    one = MixtureOracle(kernel, torch.ones(1), m[None], v.sqrt()[None])(x, t, layout)
    exact = GaussianOracle(kernel, m, v)(x, t, layout)
    torch.testing.assert_close(one.mean, exact.mean)
    torch.testing.assert_close(one.std, exact.std)
    points, p = (
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=F),
        torch.tensor([1.0, 2, 3]),
    )
    mixed = MixtureOracle(kernel, p, points, torch.zeros(3))(x, t, layout)
    finite = FiniteOracle(kernel, list(points), p)(x, t, layout)
    assert isinstance(finite, Dirac)
    torch.testing.assert_close(mixed.mean, finite.mean)


def test_mixture_errors():
    with pytest.raises(ConfigError, match="Euclidean"):
        MixtureOracle(GaussianKernel(ZeroCoM(), VE()), torch.ones(1), torch.ones(1), torch.ones(1))
    with pytest.raises(ConfigError, match="K weights"):
        MixtureOracle(gaussian(VE()), torch.ones(2), torch.ones(3), torch.ones(3))
    with pytest.raises(ConfigError, match="positive"):
        MixtureOracle(gaussian(VE()), torch.tensor([1.0, 0.0]), torch.ones(2), torch.ones(2))


def test_two_points_by_hand():
    # x_0 = +-1: E[x_0 | x_t] = tanh(alpha x_t / sigma^2)
    schedule = VPLinear()
    oracle = FiniteOracle(gaussian(schedule), [torch.tensor(1.0), torch.tensor(-1.0)])
    x, t = torch.tensor([0.3, -1.0, 2.0], dtype=F), 0.4
    law = oracle(x, t, Layout.dense(3, dtype=F))
    torch.testing.assert_close(law.mean, torch.tanh(schedule.alpha(t) * x / schedule.sigma(t) ** 2))


Q = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.0, 0.2, 0.8]], dtype=F)
TOKEN_KERNELS = [
    CategoricalKernel(Tokens(3), Uniform(Linear(0.01))),
    CategoricalKernel(Tokens(3), Absorbing(2)),
    CategoricalKernel(Tokens(3), Matrices(torch.stack([Q, Q.mT / Q.sum(0)[:, None], Q, Q]))),
]


@pytest.mark.parametrize("kernel", TOKEN_KERNELS, ids=lambda k: type(k.corruption).__name__)
def test_pmf_is_bayes_rule_by_enumeration(kernel):
    pmf = torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(1), dtype=F)
    pmf = pmf / pmf.sum()
    oracle = PmfOracle(kernel, pmf)
    for t in (0.25, 0.75):
        # rows of Q(0, t), by corrupting single tokens
        single = Layout.dense(3, (1,), dtype=torch.int64)
        q = kernel.marginal(torch.arange(3)[:, None], t, single).mean[:, 0]
        for x in itertools.product(range(3), repeat=3):
            expected = torch.zeros(3, 3, dtype=F)
            for x0 in itertools.product(range(2), repeat=3):
                p = pmf[x0] * math.prod(q[i, j].item() for i, j in zip(x0, x, strict=True))
                for i in range(3):
                    expected[i, x0[i]] += p
            x_t = torch.tensor([x])
            layout = Layout.dense(1, (3,), dtype=torch.int64)
            if expected.sum() == 0:  # a state out of reach tells nothing
                for i in range(3):
                    expected[i, :2] = pmf.sum([j for j in range(3) if j != i])
            law = oracle(x_t, t, layout)
            torch.testing.assert_close(law.mean[0], expected / expected.sum(-1, keepdim=True))
            rows = [torch.tensor(s) for s in itertools.product(range(2), repeat=3)]
            finite = FiniteOracle(kernel, rows, pmf.flatten())(x_t, t, layout)
            torch.testing.assert_close(finite.mean, law.mean)


def test_independent_tokens_stay_independent():
    p, r = torch.tensor([0.2, 0.8], dtype=F), torch.tensor([0.6, 0.4], dtype=F)
    kernel = CategoricalKernel(Tokens(2), Uniform())
    x, t = torch.tensor([[0, 1], [1, 1]]), torch.tensor([0.3, 0.6], dtype=F)
    layout = Layout.dense(2, (2,), dtype=torch.int64)
    law = PmfOracle(kernel, torch.outer(p, r))(x, t, layout).mean
    for b in range(2):
        keep = 1 - t[b].item() / 2  # survival 1 - t, and half of the resampled come back
        for i, prior in enumerate((p, r)):
            w = prior * torch.where(torch.arange(2) == x[b, i], keep, 1 - keep)
            torch.testing.assert_close(law[b, i], w / w.sum())


def test_pmf_and_finite_errors():
    kernel = CategoricalKernel(Tokens(3), Absorbing(2))
    with pytest.raises(ConfigError, match="shape"):
        PmfOracle(kernel, torch.ones(2, 3))
    with pytest.raises(ConfigError, match="CategoricalKernel"):
        PmfOracle(gaussian(VE()), torch.ones(2))
    with pytest.raises(ConfigError, match="not negative"):
        PmfOracle(kernel, torch.tensor([1.0, -1.0]))
    with pytest.raises(InputError, match="L"):
        PmfOracle(kernel, torch.ones(2, 2))(
            torch.zeros(1, 3, dtype=torch.int64), 0.5, Layout.dense(1, (3,))
        )
    with pytest.raises(ConfigError, match="one probability"):
        FiniteOracle(kernel, [torch.tensor([0])], torch.ones(2))
    with pytest.raises(ConfigError, match="parts"):
        FiniteOracle(kernel, [{"x": torch.tensor([0])}])
    oracle = FiniteOracle(gaussian(VE()), [torch.zeros(2)])
    with pytest.raises(InputError, match="shape"):
        oracle(torch.zeros(1, 3), 0.5, Layout.dense(1, (3,)))
    with pytest.raises(InputError, match="padded"):
        oracle(torch.zeros(1, 2), 0.5, Layout.dense(1, (2,), mask=torch.ones(1, 2).bool()))


def test_finite_product_couples_its_parts():
    # the token is the sign: x_t tells about both, and so does the token
    kernel = ProductKernel(
        {"x": gaussian(Linear()), "k": CategoricalKernel(Tokens(3), Absorbing(2))}
    )
    states = [{"x": torch.tensor([s]), "k": torch.tensor(k)} for s, k in ((1.0, 0), (-1.0, 1))]
    oracle = FiniteOracle(kernel, states)
    layout = Layout.product(
        {"x": Layout.dense(2, (1,), dtype=F), "k": Layout.dense(2, dtype=torch.int64)}
    )
    x = {"x": torch.tensor([[0.3], [0.3]], dtype=F), "k": torch.tensor([2, 1])}
    law = oracle(x, 0.5, layout)
    assert isinstance(law, Product)
    # sigma = alpha = 1/2: the log odds of +1 are 2 alpha x / sigma^2 = 4 x
    p = 1 / (1 + math.exp(-1.2))
    torch.testing.assert_close(law.mean["x"], torch.tensor([[2 * p - 1], [-1.0]], dtype=F))
    expected = torch.tensor([[p, 1 - p, 0], [0, 1, 0]], dtype=F)
    torch.testing.assert_close(law.mean["k"], expected)
    both = oracle({"x": x["x"][:1], "k": x["k"][:1]}, torch.tensor([0.5], dtype=F), _first(layout))
    torch.testing.assert_close(both.mean["x"], law.mean["x"][:1])


def _first(layout: Layout) -> Layout:
    fields = {
        n: Layout.dense(1, part.shape[1:], dtype=part.dtype) for n, part in layout.fields.items()
    }
    return Layout.product(fields)


def test_point_estimate():
    oracle = GaussianOracle(gaussian(VE()), 1.0, 2.0)
    x, layout = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), Layout.dense(3, (2,))
    point = PointEstimate(oracle)(x, 0.3, layout)
    assert isinstance(point, Dirac)
    torch.testing.assert_close(point.value, oracle(x, 0.3, layout).mean, rtol=0, atol=0)
    with pytest.raises(ConfigError, match="GaussianKernel"):
        PointEstimate(PmfOracle(TOKEN_KERNELS[0], torch.ones(2)))


def test_expectation_sums_to_one_and_counts():
    kernel = TOKEN_KERNELS[1]
    pmf = torch.tensor([[0.4, 0.1], [0.2, 0.3]], dtype=F)
    one = expectation(kernel, pmf, 0.25, lambda x0, x_t, layout: torch.ones(len(x0)))
    assert one.item() == pytest.approx(1)
    masked = expectation(kernel, pmf, 0.25, lambda x0, x_t, layout: (x_t == 2).sum(1))
    assert masked.item() == pytest.approx(2 * 0.25)
    agree = expectation(kernel, pmf, 0.25, lambda x0, x_t, layout: (x0[:, 0] == x0[:, 1]).double())
    assert agree.item() == pytest.approx(0.7)
    assert all_states(3, 2).tolist() == [list(s) for s in itertools.product(range(3), repeat=2)]
    with pytest.raises(ConfigError, match="enumerated"):
        expectation(gaussian(VE()), pmf, 0.25, lambda x0, x_t, layout: x0)


def test_oracles_take_float32_and_give_it_back():
    layout = Layout.dense(2, (3,))
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    for oracle in (
        GaussianOracle(gaussian(VPLinear()), 0.0, 1.0),
        GaussianOracle(gaussian(VPLinear()), 0.0, MATRIX),
        MixtureOracle(gaussian(VPLinear()), torch.ones(2), torch.randn(2, 3), torch.ones(2)),
        FiniteOracle(gaussian(VPLinear()), [torch.zeros(3), torch.ones(3)]),
    ):
        law = oracle(x, 0.5, layout)
        assert law.mean.dtype == torch.float32
        assert isinstance(law, Gaussian | Dirac)
        steps = list(
            Ancestral()(
                Diffusion(oracle, layout, NoiseSource(0, [0, 1])),
                x,
                grids.uniform(oracle.kernel, 3),
            )
        )
        assert steps[-1].x.dtype == torch.float32
    token = PmfOracle(TOKEN_KERNELS[0], torch.ones(2, 2))
    law = token(torch.zeros(1, 2, dtype=torch.int64), 0.5, Layout.dense(1, (2,), dtype=torch.int64))
    assert isinstance(law, Categorical)
