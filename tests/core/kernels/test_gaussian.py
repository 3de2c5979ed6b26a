"""Gaussian kernels: Chapman-Kolmogorov, Bayes, the mixture rule and bridges."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from unnoise.distributions import Dirac, Gaussian
from unnoise.kernels import (
    BetaTable,
    GaussianKernel,
    VPLinear,
)
from unnoise.spaces import Euclidean, Layout

sys.path.insert(0, str(Path(__file__).parent))
from gaussian_kernels import PLACES, D, clocks, close, path, places, schedules, state


@schedules
@places
@clocks
def test_chapman_kolmogorov(schedule, place, clock):
    space, layout = PLACES[place]
    kernel = GaussianKernel(space, schedule)
    s, t, u = clock
    x0 = state(space, layout, 0)

    def compose(first, second, begin, end):
        """Mean and std after two transitions: both are linear in the state."""
        middle = first(x0)
        law = second(middle.mean)
        ratio = schedule.alpha(end) / schedule.alpha(begin)
        return law.mean, (ratio**2 * middle.std**2 + law.std**2) ** 0.5

    mean, std = compose(
        lambda x: kernel.marginal(x, s, layout),
        lambda x: kernel.transition(x, s, t, layout),
        s,
        t,
    )
    direct = kernel.marginal(x0, t, layout)
    close(mean, direct.mean)
    close(std, direct.std)
    mean, std = compose(
        lambda x: kernel.transition(x, s, t, layout),
        lambda x: kernel.transition(x, t, u, layout),
        t,
        u,
    )
    direct = kernel.transition(x0, s, u, layout)
    close(mean, direct.mean)
    close(std, direct.std)


@schedules
@places
@clocks
def test_bayes_in_densities(schedule, place, clock):
    """q(x_s | x_t, x_0) q(x_t | x_0) = q(x_t | x_s) q(x_s | x_0)."""
    space, layout = PLACES[place]
    kernel = GaussianKernel(space, schedule)
    s, t, _ = clock
    x0, x_s, x_t = path(kernel, layout, clock)
    posterior = kernel.reverse(x_t, Dirac(x0, layout), t, s, layout)
    left = posterior.log_prob(x_s) + kernel.marginal(x0, t, layout).log_prob(x_t)
    right = kernel.transition(x_s, s, t, layout).log_prob(x_t) + kernel.marginal(
        x0, s, layout
    ).log_prob(x_s)
    close(left, right)


@schedules
@clocks
def test_bayes_in_moments(schedule, clock):
    """Precisions add: 1/v = 1/sigma_s^2 + r^2/v_ts, mean/v = alpha_s x_0/sigma_s^2 + r x_t/v_ts."""
    space, layout = PLACES["ragged"]
    kernel = GaussianKernel(space, schedule)
    s, t, _ = clock
    x0, _, x_t = path(kernel, layout, clock)
    alpha, sigma = schedule.alpha(s), schedule.sigma(s)
    r = schedule.alpha(t) / alpha
    v_ts = schedule.sigma(t) ** 2 - r**2 * sigma**2
    v = 1 / (1 / sigma**2 + r**2 / v_ts)
    mean = layout.expand(v * alpha / sigma**2, x0) * x0 + layout.expand(v * r / v_ts, x0) * x_t
    law = kernel.reverse(x_t, Dirac(x0), t, s, layout)
    close(law.mean, mean)
    close(law.std, v**0.5)


def test_bayes_in_the_words_of_ddpm():
    table = BetaTable.linear()
    kernel, layout = GaussianKernel(Euclidean(), table), Layout.dense(1, (1,), dtype=D)
    x0, x_t = torch.tensor([[0.3]], dtype=D), torch.tensor([[-1.2]], dtype=D)
    bars = [1.0, *(1 - torch.tensor(table.betas, dtype=D)).cumprod(0).tolist()]
    for i in (2, 3, 500, 1000):
        beta, bar, before = table.betas[i - 1], bars[i], bars[i - 1]
        law = kernel.reverse(x_t, Dirac(x0), i / 1000, (i - 1) / 1000, layout)
        mean = before**0.5 * beta / (1 - bar) * x0
        mean = mean + (1 - beta) ** 0.5 * (1 - before) / (1 - bar) * x_t
        close(law.mean, mean, 1e-11)
        assert law.std**2 == pytest.approx((1 - before) / (1 - bar) * beta, rel=1e-9)
    second = kernel.reverse(x_t, Dirac(x0), 2 / 1000, 1 / 1000, layout)
    assert second.std**2 == pytest.approx(5.4532e-5, abs=5e-10)


@schedules
@pytest.mark.parametrize("std", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("times", [(0.5, 0.24), (1.0, 0.9), (0.02, 0.0), (1.0, 0.02)])
def test_mixture_rule_by_quadrature(schedule, std, times):
    """reverse against N(m, std^2) is the integral of the posteriors of x_0."""
    t, s = times
    kernel = GaussianKernel(Euclidean(), schedule)
    m, x_t = 0.4, 1.3 * schedule.sigma(t)
    one = Layout.dense(1, dtype=D)
    at = torch.tensor([x_t], dtype=D)
    law = kernel.reverse(at, Gaussian(torch.tensor([m], dtype=D), std), t, s, one)
    z = torch.linspace(-13, 13, 4001, dtype=D)
    weight = torch.exp(-0.5 * z**2)
    weight = weight / weight.sum()
    x0 = m + std * z
    many = Layout.dense(len(z), dtype=D)
    posterior = kernel.reverse(at.expand(len(z)), Dirac(x0), t, s, many)
    mean = (weight * posterior.mean).sum()
    variance = (weight * (posterior.mean - mean) ** 2).sum() + posterior.std**2
    close(law.mean[0], mean)
    close(law.std**2, variance)
    if posterior.std > 0.05 * law.std:  # the density too: the grid resolves the posteriors
        y = law.mean + law.std * torch.linspace(-3, 3, 7, dtype=D)
        density = [(weight * posterior.log_prob(v.expand(len(z))).exp()).sum() for v in y]
        wide = Layout.dense(7, dtype=D)
        log_p = Gaussian(law.mean.expand(7), law.std, layout=wide).log_prob(y)
        close(log_p.exp(), torch.stack(density))


@places
@clocks
@pytest.mark.parametrize("form", ["shared", "per sample", "elementwise"])
def test_mixture_rule_with_any_kind_of_std(place, clock, form):
    """Law of total variance, entry by entry."""
    space, layout = PLACES[place]
    kernel = GaussianKernel(space, VPLinear())
    s, t, _ = clock
    x0, _, x_t = path(kernel, layout, clock)
    std = {
        "shared": 0.4,
        "per sample": torch.tensor([0.1, 0.4, 1.5], dtype=D),
        "elementwise": state(Euclidean(), layout, 5).exp(),
    }[form]
    law = kernel.reverse(x_t, Gaussian(x0, std, space, layout), t, s, layout)
    point = kernel.reverse(x_t, Dirac(x0), t, s, layout)
    unit = state(space, layout, 3)
    moved = kernel.reverse(x_t, Dirac(x0 + unit), t, s, layout)
    close(law.mean, point.mean)
    # the posterior mean is linear in x_0, with the same slope for every entry of a sample
    slope = layout.sum((moved.mean - point.mean) * unit) / layout.sum(unit**2)
    slope = layout.expand(slope, x0)
    full = Gaussian(x0, std, space, layout).scale
    variance = (slope * full) ** 2 + Gaussian(x0, point.std, space, layout).scale ** 2
    one = torch.ones(layout.shape, dtype=D)
    close(law.scale * one, variance**0.5 * one)


@schedules
@pytest.mark.parametrize("times", [(1.0, 0.5), (0.5, 0.24), (0.24, 0.02), (1.0, 0.02), (0.02, 0.0)])
def test_the_exact_law_of_gaussian_data_walks_back_exactly(schedule, times):
    """Analytic-DPM: with the exact N(E, Var) of x_0, one step of any length keeps the marginals."""
    t, s = times
    v = 0.25
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    total = alpha**2 * v + sigma**2
    gain, std = alpha * v / total, sigma * (v / total) ** 0.5
    kernel, layout = GaussianKernel(Euclidean(), schedule), Layout.dense(1, dtype=D)
    x_t = torch.tensor([1.0], dtype=D)
    law = kernel.reverse(x_t, Gaussian(gain * x_t, std), t, s, layout)
    variance = law.mean.item() ** 2 * total + law.std**2  # the mean is a multiple of x_t
    assert variance == pytest.approx(schedule.alpha(s) ** 2 * v + schedule.sigma(s) ** 2, rel=1e-10)


@schedules
@clocks
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_bridges_keep_the_marginals(schedule, clock, eta):
    """x_s = alpha_s x_0 + k sigma_t eps + c z has variance sigma_s^2 for every eta."""
    _, layout = PLACES["ragged"]
    kernel = GaussianKernel(Euclidean(), schedule)
    s, t, _ = clock
    x0, eps = state(Euclidean(), layout, 0), state(Euclidean(), layout, 1)
    alpha, sigma = (layout.expand(f(t), x0) for f in (schedule.alpha, schedule.sigma))
    law = kernel.bridge(alpha * x0 + sigma * eps, Dirac(x0), t, s, layout, eta)
    centre = kernel.bridge(alpha * x0, Dirac(x0), t, s, layout, eta)
    close(centre.mean, layout.expand(schedule.alpha(s), x0) * x0)
    k = layout.sum((law.mean - centre.mean) * eps) / layout.sum(eps**2)
    close(k**2 + law.std**2, schedule.sigma(s) ** 2 * torch.ones_like(k))
    assert torch.as_tensor(law.std).eq(0).all() == (eta == 0)


@schedules
def test_a_posterior_that_hardly_looks_at_the_state(schedule):
    """k = r sigma_s / sigma_t keeps its digits where r = alpha_t sigma_s / (alpha_s sigma_t) is
    tiny."""
    kernel, layout = GaussianKernel(Euclidean(), schedule), Layout.dense(1, dtype=D)
    t, s = (1.0 if schedule.alpha(1.0) > 0 else 0.98), 0.02
    one, zero = torch.ones(1, dtype=D), torch.zeros(1, dtype=D)
    k = kernel.reverse(one, Dirac(zero), t, s, layout).mean.item()
    ratio = schedule.alpha(t) / schedule.alpha(s)
    exact = ratio * schedule.sigma(s) ** 2 / schedule.sigma(t) ** 2
    assert k == pytest.approx(exact, rel=1e-12, abs=0)
