"""The Gaussian kernel obeys the laws of probability, for every schedule and every space.

Chapman-Kolmogorov, Bayes, the mixture rule and the end points hold to rounding in float64.
"""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.distributions import Categorical, Dirac, Gaussian
from unnoise.errors import InputError
from unnoise.kernels import (
    VE,
    BetaTable,
    GaussianKernel,
    Geometric,
    LearnedSchedule,
    Linear,
    MonotoneInterior,
    SubVP,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, ZeroCoM

D = torch.float64


def learned() -> LearnedSchedule:
    """With an interior that is no line."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        interior = MonotoneInterior(8)
    interior.height.data += 0.5
    return LearnedSchedule(interior).requires_grad_(False)


SCHEDULES = {
    "vp linear": VPLinear(),
    "vp cosine": VPCosine(),
    "sub-vp": SubVP(),
    "ve": VE(),
    "flow": Linear(),
    "geometric": Geometric(),
    "beta table": BetaTable.linear(),
    "quadratic table": BetaTable.quadratic(),
    "learned": learned(),
}
COUNTS = (3, 2, 4)
MASK = torch.arange(5)[None] < torch.tensor(COUNTS)[:, None]
PLACES = {
    "dense": (Euclidean(), Layout.dense(3, (2, 2), dtype=D)),
    "padded": (Euclidean(), Layout.dense(3, (5, 2), mask=MASK, dtype=D)),
    "ragged": (Euclidean(), Layout.ragged(COUNTS, (2,), dtype=D)),
    "zero mean": (ZeroCoM(), Layout.dense(3, (4, 3), dtype=D)),
    "zero mean padded": (ZeroCoM(), Layout.dense(3, (5, 3), mask=MASK, dtype=D)),
    "zero mean ragged": (ZeroCoM(), Layout.ragged(COUNTS, (3,), dtype=D)),
}
# s < t < u, on the steps of every table; each sample its own, or one for all
FLOATS = (0.24, 0.5, 0.92)
TENSORS = tuple(
    torch.tensor(v, dtype=D) for v in ([0.02, 0.24, 0.9], [0.1, 0.5, 0.92], [0.64, 0.92, 1.0])
)

schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
places = pytest.mark.parametrize("place", PLACES)
clocks = pytest.mark.parametrize("clock", [FLOATS, TENSORS], ids=["one time", "a time per sample"])


def close(a, b, tolerance=1e-10):
    a, b = (v if isinstance(v, torch.Tensor) else torch.tensor(v, dtype=D) for v in (a, b))
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def state(space, layout, seed):
    x = torch.randn(layout.shape, generator=torch.Generator().manual_seed(seed), dtype=D)
    return space.project(x, layout)


def path(kernel, layout, clock):
    """x_0 and draws of x_s, x_t of one path."""
    source = NoiseSource(0, range(layout.batch))
    s, t, _ = clock
    x0 = state(kernel.space, layout, 0)
    x_s = kernel.marginal(x0, s, layout).sample(source)
    return x0, x_s, kernel.transition(x_s, s, t, layout).sample(source)


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


@schedules
@places
def test_end_points(schedule, place):
    space, layout = PLACES[place]
    kernel = GaussianKernel(space, schedule)
    source = NoiseSource(0, range(3))
    x0 = state(space, layout, 0)
    for t in (0.0, torch.zeros(3, dtype=D)):
        assert kernel.marginal(x0, t, layout).sample(source).equal(x0)
    x_t = state(space, layout, 1)
    for t, s in ((0.5, 0.0), (torch.full((3,), 0.5, dtype=D), torch.zeros(3, dtype=D))):
        back = kernel.reverse(x_t, Dirac(x0), t, s, layout).sample(source)
        assert back.equal(x0)
    # at 1 what is left of the data is alpha_1 x_0, exactly: the prior differs by that shift
    prior = kernel.prior(layout)
    assert prior.mean.eq(0).all()
    assert prior.std == schedule.sigma(1.0)
    left = (schedule.alpha(1.0) / schedule.sigma(1.0)) ** 2 * layout.sum(x0**2) / 2
    close(kernel.marginal(x0, 1.0, layout).kl(prior), left, 1e-12)
    drawn = prior.sample(source)
    close(space.project(drawn, layout), drawn, 1e-13)


def test_prior_terms():
    layout = Layout.dense(1, (3, 4), dtype=D)
    kernel = GaussianKernel(Euclidean(), BetaTable.linear())
    for square, bits in ((1.0, 2.911e-5), (0.25, 7.28e-6)):
        x0 = torch.full((1, 3, 4), square**0.5, dtype=D)
        nats = kernel.marginal(x0, 1.0, layout).kl(kernel.prior(layout)).item()
        assert nats / 12 / math.log(2) == pytest.approx(bits, abs=5e-9)
    assert GaussianKernel(Euclidean(), VE()).prior(layout).std == pytest.approx(50, rel=1e-14)


@schedules
@places
def test_one_time_for_all_is_the_same_time_for_each(schedule, place):
    space, layout = PLACES[place]
    kernel = GaussianKernel(space, schedule)
    x0, x_s, x_t = path(kernel, layout, FLOATS)
    s, t, _ = FLOATS
    s_each, t_each = (torch.full((3,), v, dtype=D) for v in (s, t))
    spread = Gaussian(x0, 0.3, space, layout)
    laws = [
        (kernel.marginal(x0, t, layout), kernel.marginal(x0, t_each, layout)),
        (kernel.transition(x_s, s, t, layout), kernel.transition(x_s, s_each, t_each, layout)),
        (kernel.transition(x_s, s, t, layout), kernel.transition(x_s, s, t_each, layout)),
        (
            kernel.reverse(x_t, Dirac(x0), t, s, layout),
            kernel.reverse(x_t, Dirac(x0), t_each, s_each, layout),
        ),
        (
            kernel.reverse(x_t, spread, t, s, layout),
            kernel.reverse(x_t, spread, t_each, s, layout),
        ),
        (
            kernel.reconstruction(x_t, Dirac(x0), t, layout),
            kernel.reconstruction(x_t, Dirac(x0), t_each, layout),
        ),
    ]
    for one, each in laws:
        assert isinstance(one.std, float)
        assert each.std.shape == (3,)
        close(one.mean, each.mean, 1e-13)
        close(torch.full_like(each.std, one.std), each.std, 1e-13)
        draws = [law.sample(NoiseSource(1, range(3))) for law in (one, each)]
        close(*draws, 1e-13)
        close(one.log_prob(x_s), each.log_prob(x_s), 1e-11)
        close(one.kl(each), torch.zeros(3, dtype=D), 1e-11)


@clocks
@pytest.mark.parametrize("space", [Euclidean(), ZeroCoM()])
@pytest.mark.parametrize("kind", ["ragged", "padded"])
def test_a_batch_is_its_samples(clock, space, kind):
    kernel = GaussianKernel(space, VPCosine())
    layout = {
        "ragged": Layout.ragged(COUNTS, (3,), dtype=D),
        "padded": Layout.dense(3, (5, 3), mask=MASK, dtype=D),
    }[kind]
    x0, x_s, x_t = path(kernel, layout, clock)
    s, t, _ = clock

    def cut(x, i):
        return x[layout.index == i] if kind == "ragged" else x[i, : COUNTS[i]]

    for i, n in enumerate(COUNTS):
        one = Layout.ragged([n], (3,), dtype=D)
        s_i, t_i = (float(v[i]) if isinstance(v, torch.Tensor) else v for v in (s, t))
        a0, a_s, a_t = (cut(x, i) for x in (x0, x_s, x_t))
        pairs = [
            (kernel.marginal(x0, t, layout), kernel.marginal(a0, t_i, one)),
            (kernel.transition(x_s, s, t, layout), kernel.transition(a_s, s_i, t_i, one)),
            (
                kernel.reverse(x_t, Dirac(x0), t, s, layout),
                kernel.reverse(a_t, Dirac(a0), t_i, s_i, one),
            ),
        ]
        for together, alone in pairs:
            draw = cut(together.sample(NoiseSource(4, [8, 9, 10])), i)
            close(draw, alone.sample(NoiseSource(4, [8 + i])), 1e-13)
            close(together.log_prob(x_s)[i], alone.log_prob(a_s)[0], 1e-11)
    close(path(kernel, layout, clock)[2], space.project(x_t, layout), 1e-13)


def test_reconstruction():
    kernel, layout = GaussianKernel(Euclidean(), VPLinear()), Layout.dense(2, (3,), dtype=D)
    x = torch.zeros(2, 3, dtype=D)
    law = kernel.reconstruction(x, Dirac(x + 1), 0.01, layout)
    assert law.mean.eq(1).all()
    assert law.std == pytest.approx(VPLinear().sigma(0.01) / VPLinear().alpha(0.01))
    own = Gaussian(x, 0.2)
    assert kernel.reconstruction(x, own, 0.01, layout) is own
    flow = GaussianKernel(Euclidean(), Linear())
    for t in (1.0, torch.tensor([0.5, 1.0], dtype=D)):
        with pytest.raises(InputError, match=r"nothing of x_0 is left.*more than one step"):
            flow.reconstruction(x, Dirac(x), t, layout)


def test_float32_states_keep_float64_coefficients():
    kernel = GaussianKernel(Euclidean(), VPCosine())
    layout, wide = Layout.dense(3, (4,)), Layout.dense(3, (4,), dtype=D)
    x0, x_t = (state(Euclidean(), wide, s) for s in (0, 1))
    t, s = torch.tensor([1e-3, 0.5, 1.0], dtype=D), torch.tensor([5e-4, 0.4, 0.9], dtype=D)
    law = kernel.reverse(x_t.float(), Dirac(x0.float()), t, s, layout)
    exact = kernel.reverse(x_t, Dirac(x0), t, s, wide)
    assert law.mean.dtype == law.sample(NoiseSource(0, range(3))).dtype == torch.float32
    torch.testing.assert_close(law.mean.double(), exact.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(law.std, exact.std, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda k, x, m: k.marginal(x, 1.5, m), r"outside.*1\.5.*0 <= t <= 1"),
        (lambda k, x, m: k.marginal(x, -0.1, m), "outside"),
        (lambda k, x, m: k.marginal(x, math.nan, m), "outside.*nan"),
        (lambda k, x, m: k.marginal(x, torch.tensor([0.1, 1.1], dtype=D), m), "outside"),
        (lambda k, x, m: k.transition(x, 0.5, 0.2, m), r"order.*\(0\.5, 0\.2\).*s < t"),
        (lambda k, x, m: k.transition(x, 0.5, torch.tensor([0.6, 0.2], dtype=D), m), "order"),
        (lambda k, x, m: k.reverse(x, Dirac(x), 0.2, 0.5, m), "order"),
        (lambda k, x, m: k.reverse(x, Dirac(x), 0.0, 0.0, m), "order"),
        (lambda k, x, m: k.marginal({"x": x}, 0.5, m), "one tensor.*dict"),
        (
            lambda k, x, m: k.reverse(x, Categorical(torch.zeros(2, 3, 1)), 0.5, 0.2, m),
            "Dirac or Gaussian.*Categorical",
        ),
        (
            lambda k, x, m: k.reconstruction(x, Categorical(torch.zeros(2, 3, 1)), 0.5, m),
            "Dirac or Gaussian.*Categorical",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words):
        call(
            GaussianKernel(Euclidean(), VPLinear()),
            torch.zeros(2, 3, dtype=D),
            Layout.dense(2, (3,), dtype=D),
        )
