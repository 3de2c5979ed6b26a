"""Weighted objectives and the bound as an objective."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unnoise.denoise import LearnedVariance, NetworkDenoiser, Noise, V
from unnoise.errors import ConfigError
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    Uniform,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    Batch,
    Hybrid,
    ImportanceTimes,
    LikelihoodWeighted,
    MinSNR,
    Simple,
    SimpleWithBound,
    TruncatedSNR,
    UniformTimes,
    VariationalBound,
    Weighted,
)
from unnoise.objectives.variational import step_numbers
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import GaussianOracle, MixtureOracle, PmfOracle, PointEstimate

F64 = torch.float64


class Linear64(nn.Module):
    def __init__(self, outputs=1):
        super().__init__()
        self.w = nn.Parameter(0.3 * torch.arange(1, outputs + 1, dtype=F64))

    def forward(self, x, label, layout, condition):
        return torch.cat([w * x for w in self.w], 1)


def batch(n, width=1):
    x0 = 0.5 * torch.randn(n, width, dtype=F64, generator=torch.Generator().manual_seed(0))
    return Batch(x0, Layout.dense(n, (width,), dtype=F64))


def noise(n):
    return NoiseSource(2, range(n))


@pytest.mark.parametrize("parametrization", [Noise(), V()])
@pytest.mark.parametrize("weighting", [MinSNR(5.0), MinSNR(0.5), TruncatedSNR()])
def test_weights_in_terms_of_what_the_network_predicts(parametrization, weighting):
    """min(SNR, gamma) / SNR on eps and / (SNR + 1) on v (Hang 2023); the same with max(SNR, 1)."""
    kernel = GaussianKernel(Euclidean(), VPLinear())
    denoiser = NetworkDenoiser(Linear64(), kernel, parametrization)
    data = batch(64)
    snr = torch.exp(kernel.schedule.log_snr(1 - noise(64).times()))
    if isinstance(weighting, MinSNR):
        weight = snr.clamp(max=weighting.gamma)
    else:
        weight = snr.clamp(min=1)
    scale = weight / (snr if isinstance(parametrization, Noise) else snr + 1)
    expected = scale * Simple()(denoiser, data, noise(64))
    found = Weighted(weighting)(denoiser, data, noise(64))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_clipped_predictions_are_trained_unclipped():
    kernel = GaussianKernel(Euclidean(), VPLinear())
    free = NetworkDenoiser(Linear64(), kernel, V())
    clipped = NetworkDenoiser(Linear64(), kernel, V(), clip=(-0.01, 0.01))
    for objective in (Weighted(), LikelihoodWeighted(), VariationalBound()):
        a, b = (objective(d, batch(16), noise(16)) for d in (free, clipped))
        torch.testing.assert_close(a, b)


def test_likelihood_weighting():
    """gamma'(t) |eps - eps_hat|^2 / 2 over Z: with either choice of times it averages to the
    bound's integral, for N(0, v) and the exact score 1/2 ln[(1 + v SNR(eps)) / (1 + v SNR(1))]."""
    n, kernel = 4000, GaussianKernel(Euclidean(), VPLinear())
    oracle = GaussianOracle(kernel, 0.0, 0.25)
    ends = [0.25 * math.exp(kernel.schedule.log_snr(t)) for t in (1e-5, 1.0)]
    exact = 0.5 * math.log((1 + ends[0]) / (1 + ends[1]))
    z = ImportanceTimes().normaliser(kernel.schedule)
    rows = {
        times: z * LikelihoodWeighted(times)(oracle, batch(n), noise(n))
        for times in (ImportanceTimes(), UniformTimes())
    }
    for values in rows.values():
        error = values.std().item() / n**0.5
        assert values.mean().item() == pytest.approx(exact, abs=4 * error)
    important, even = rows.values()
    assert important.var() < 0.2 * even.var()


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_every_step_is_trained(steps):
    """1 and T included: each as often as it should be, up to the discrepancy of the times."""
    found = step_numbers(NoiseSource(0, range(4 * steps)), steps)
    counts = torch.bincount(found.long(), minlength=steps + 1)
    assert counts[0] == 0
    assert len(counts) == steps + 1
    assert counts[1:].min() >= 2
    assert counts[1:].max() <= 6


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_the_objective_averages_to_the_bound_gaussian(steps):
    """With the exact law it is -log p up to the prior's term, at every T."""
    n, schedule = 4000, VPCosine(-8.0, 8.0)
    oracle = GaussianOracle(GaussianKernel(Euclidean(), schedule), 0.0, 0.25)
    found = VariationalBound(steps)(oracle, batch(n), noise(n))
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    a, s = schedule.alpha(1.0) ** 2, schedule.sigma(1.0) ** 2
    # I(x_1; x_0) is what the prior's term pays for
    exact = entropy - 0.5 * math.log(1 + 0.25 * a / s)
    error = found.std().item() / n**0.5
    assert found.mean().item() == pytest.approx(exact, abs=4 * error)


@pytest.mark.parametrize("steps", [2, 10])
def test_the_objective_averages_to_the_bound_categorical(steps):
    """Absorbing, two tokens of a chain with flip .1: H + I / T in total."""
    n = 4000
    pmf = torch.tensor([[0.45, 0.05], [0.05, 0.45]], dtype=F64)
    kernel = CategoricalKernel(Tokens(3), Absorbing(2, Linear()))
    flat = torch.multinomial(pmf.flatten(), n, True, generator=torch.Generator().manual_seed(0))
    x0 = torch.stack([flat // 2, flat % 2], 1)
    data = Batch(x0, Tokens(3).layout(x0))
    found = 2 * VariationalBound(steps)(PmfOracle(kernel, pmf), data, noise(n))
    error = found.std().item() / n**0.5
    assert found.mean().item() == pytest.approx(1.0182302 + 0.3680642 / steps, abs=4 * error)


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(4))

    def forward(self, x, label, layout, condition):
        return self.logits.expand(*x.shape, 4)


def test_hybrid_and_its_gradient():
    """Categories: L_vb + lambda CE, finite in value and gradient at every t."""
    from unnoise.denoise import Logits

    kernel = CategoricalKernel(Tokens(4), Uniform(BetaTable.survival([0.1] * 6)))
    denoiser = NetworkDenoiser(Table(), kernel, Logits())
    x0 = torch.randint(0, 4, (60, 3), generator=torch.Generator().manual_seed(0))
    data = Batch(x0, Tokens(4).layout(x0))
    losses = {w: Hybrid(w)(denoiser, data, noise(60)) for w in (0.0, 0.5)}
    cross = Simple()(denoiser, data, noise(60))
    torch.testing.assert_close(losses[0.5] - losses[0.0], 0.5 * cross, check_dtype=False)
    torch.testing.assert_close(
        losses[0.0], VariationalBound()(denoiser, data, noise(60)), check_dtype=False
    )
    losses[0.5].sum().backward()
    assert bool(torch.isfinite(denoiser.network.logits.grad).all())


@pytest.mark.parametrize("steps", [1000, 30])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_range_interpolation(steps, weight):
    """`reverse` has log variance w log beta + (1 - w) log betatilde at its own step length; the
    two ends are betatilde and beta at any."""
    kernel = GaussianKernel(Euclidean(), BetaTable.linear(steps, 1e-4, 0.02 * 1000 / steps))
    parametrization = LearnedVariance(Noise(), steps)
    x = torch.tensor([[0.3], [0.2]], dtype=F64)
    layout = Layout.dense(2, (1,), dtype=F64)
    output = torch.cat([0 * x, 0 * x + 2 * weight - 1], 1)

    def bounds(i, j):
        a_t, a_s = (kernel.schedule.alpha(k / steps) ** 2 for k in (i, j))
        beta = 1 - a_t / a_s
        return (1 - a_s) / (1 - a_t) * beta, beta

    for i in (2, steps // 2, steps):
        law = parametrization.law(kernel, output, x, i / steps, layout)
        q = kernel.reverse(x, law, i / steps, (i - 1) / steps, layout)
        low, high = bounds(i, i - 1)
        expected = high**weight * low ** (1 - weight)
        torch.testing.assert_close(q.std**2, torch.full_like(x, expected), rtol=1e-9, atol=0)
        if weight != 0.3:
            j = i // 2
            q = kernel.reverse(x, law, i / steps, j / steps, layout)
            expected = bounds(i, j)[round(weight)]
            torch.testing.assert_close(q.std**2, torch.full_like(x, expected), rtol=1e-9, atol=0)
    law = parametrization.law(
        kernel, output, x, torch.tensor([1.0, 2.0], dtype=F64) / steps, layout
    )
    first = bounds(1, 0)[1] ** weight * bounds(2, 1)[0] ** (1 - weight)
    assert law.std[0].item() ** 2 == pytest.approx(first, rel=1e-9)


def test_the_bound_trains_the_variance_and_the_error_the_mean():
    kernel = GaussianKernel(Euclidean(), VPCosine())
    denoiser = NetworkDenoiser(Linear64(2), kernel, LearnedVariance(Noise(), 100))
    data = batch(128)
    SimpleWithBound(0.1, 100)(denoiser, data, noise(128)).sum().backward()
    found = denoiser.network.w.grad.clone()
    denoiser.zero_grad()
    number = step_numbers(noise(128), 100)
    assert number.min() == 1

    class AtThoseTimes(NoiseSource):
        def times(self):
            return 1 - number / 100

    Simple()(denoiser, data, AtThoseTimes(2, range(128))).sum().backward()
    torch.testing.assert_close(found[0], denoiser.network.w.grad[0])
    denoiser.zero_grad()
    (0.1 * VariationalBound(100)(denoiser, data, noise(128))).sum().backward()
    torch.testing.assert_close(found[1], denoiser.network.w.grad[1])


def test_bad_input():
    kernel = GaussianKernel(Euclidean(), BetaTable.linear(10))
    oracle = PointEstimate(GaussianOracle(kernel, 0.0, 0.25))
    pmf = PmfOracle(CategoricalKernel(Tokens(2), Uniform(Linear())), torch.tensor([0.5, 0.5]))
    tokens = Batch(torch.zeros(2, 1, dtype=torch.int64), Layout.dense(2, (1,), dtype=torch.int64))
    with pytest.raises(ConfigError, match="VariationalBound"):
        LikelihoodWeighted()(oracle, batch(2), noise(2))
    with pytest.raises(ConfigError, match="GaussianKernel"):
        Weighted()(pmf, tokens, noise(2))
    with pytest.raises(ConfigError, match="NetworkDenoiser"):
        Hybrid()(pmf, tokens, noise(2))
    point = NetworkDenoiser(Linear64(), kernel, Noise())
    with pytest.raises(ConfigError, match="LearnedVariance"):
        SimpleWithBound()(point, batch(2), noise(2))
    with pytest.raises(ConfigError, match="other steps"):
        NetworkDenoiser(Linear64(2), kernel, LearnedVariance(Noise(), 1000))
    odd = NetworkDenoiser(Linear64(3), kernel, LearnedVariance(Noise(), 10))
    with pytest.raises(ConfigError, match="twice"):
        Simple()(odd, batch(2), noise(2))
    with pytest.raises(ConfigError, match="gamma"):
        MinSNR(0.0)
    for kind in (VariationalBound, Hybrid, SimpleWithBound):
        with pytest.raises(ConfigError, match="step"):
            kind(steps=0)


def test_a_mixture_is_not_reached_by_one_wide_step():
    """The bound of a wrong law is above the entropy: the objective can tell."""
    n, kernel = 2000, GaussianKernel(Euclidean(), VPCosine(-8.0, 8.0))
    wrong = MixtureOracle(
        kernel, torch.tensor([0.5, 0.5]), torch.tensor([[-1.0], [1.0]]), torch.tensor([0.2, 0.2])
    )
    right = GaussianOracle(kernel, 0.0, 0.25)
    a, b = (VariationalBound(20)(d, batch(n), noise(n)) for d in (wrong, right))
    assert (a - b).mean().item() > 5 * (a - b).std().item() / n**0.5
