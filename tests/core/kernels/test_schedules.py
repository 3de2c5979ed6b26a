"""Schedules: end points, derivatives, monotone signal-to-noise ratio, and published numbers."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.errors import ConfigError
from unnoise.kernels import (
    VE,
    Above,
    BetaTable,
    Geometric,
    LearnedSchedule,
    Linear,
    MonotoneInterior,
    SubVP,
    VPCosine,
    VPLinear,
)

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
    "vp linear 2": VPLinear(0.0, 7.0),
    "vp cosine": VPCosine(),
    "vp cosine 2": VPCosine(-9.0, 13.0),
    "sub-vp": SubVP(),
    "ve": VE(),
    "ve 2": VE(0.002, 80.0),
    "flow": Linear(),
    "survival": Linear(1e-4),
    "geometric": Geometric(),
    "geometric from 0": Geometric(1e-4, 0.9, 0.0),
    "above cosine": Above(VPCosine(log_snr_max=5.0)),
    "above geometric": Above(Geometric(v_max=0.9, v_0=0.01)),
    "beta table": BetaTable.linear(),
    "quadratic table": BetaTable.quadratic(),
    "short table": BetaTable((0.1, 0.2, 0.5, 0.9)),
    "token table": BetaTable.survival((0.1, 0.2, 0.5, 0.9)),
    "learned": learned(),
    "learned line": LearnedSchedule(ends="fixed"),
}
# away from 0 and 1, and from the corners of the tables
TIMES = [0.01331, 0.11173, 0.33371, 0.61717, 0.90137, 0.98731]

every = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


@every
def test_time_zero_is_the_data(schedule):
    zero = torch.zeros(2, dtype=D)
    assert schedule.alpha(0.0) == 1
    assert schedule.sigma(0.0) == 0
    assert schedule.alpha(zero).eq(1).all()
    assert schedule.sigma(zero).eq(0).all()
    assert schedule.log_snr(0.0) == math.inf
    assert schedule.log_snr(zero).eq(math.inf).all()


@every
def test_floats_and_tensors_agree(schedule):
    t = torch.tensor([*TIMES, 1.0], dtype=D)
    for name in ("alpha", "sigma", "d_alpha", "d_sigma", "log_snr"):
        function = getattr(schedule, name)
        alone = [function(v) for v in t.tolist()]
        assert all(isinstance(v, float) for v in alone)
        together = function(t)
        assert together.dtype == D
        assert together.shape == t.shape
        torch.testing.assert_close(together, torch.tensor(alone, dtype=D), rtol=1e-13, atol=1e-15)


@every
def test_derivatives(schedule):
    t = torch.tensor(TIMES, dtype=D, requires_grad=True)
    for f, df in ((schedule.alpha, schedule.d_alpha), (schedule.sigma, schedule.d_sigma)):
        value = f(t)
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), t)
            torch.testing.assert_close(df(t), slope, rtol=1e-10, atol=1e-12)
        h = 1e-5
        fourth_order = (8 * (f(t + h) - f(t - h)) - (f(t + 2 * h) - f(t - 2 * h))) / (12 * h)
        torch.testing.assert_close(df(t), fourth_order, rtol=1e-8, atol=1e-9)


@every
def test_the_signal_to_noise_ratio_falls(schedule):
    t = torch.linspace(0, 1, 4001, dtype=D)
    assert (schedule.log_snr(t).diff() < 0).all()
    assert (schedule.alpha(t).diff() <= 0).all()
    assert (schedule.sigma(t).diff() > 0).all()
    inner = t[1:-1]
    ratio = 2 * (schedule.alpha(inner) / schedule.sigma(inner)).log()
    torch.testing.assert_close(schedule.log_snr(inner), ratio, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["vp linear", "vp cosine", "beta table", "quadratic table", "learned"]
)
def test_variance_is_preserved(name):
    schedule, t = SCHEDULES[name], torch.linspace(0, 1, 101, dtype=D)
    torch.testing.assert_close(
        schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, torch.ones(101, dtype=D)
    )


def diffusion(schedule, t):
    """g^2 = d sigma^2 / dt - 2 (alpha' / alpha) sigma^2 of dx = f x dt + g dw."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return 2 * sigma * schedule.d_sigma(t) - 2 * schedule.d_alpha(t) / alpha * sigma**2


def test_the_diffusion_coefficients_of_the_score_sdes():
    t = torch.tensor(TIMES, dtype=D)
    b0, b1 = 0.1, 20.0
    beta = b0 + t * (b1 - b0)
    torch.testing.assert_close(diffusion(VPLinear(), t), beta, rtol=1e-12, atol=0)
    expected = beta * (1 - torch.exp(-2 * b0 * t - (b1 - b0) * t**2))
    torch.testing.assert_close(diffusion(SubVP(), t), expected, rtol=1e-11, atol=0)
    ve = VE()
    expected = (ve.sigma(t) * math.sqrt(2 * math.log(50 / 0.01))) ** 2
    torch.testing.assert_close(diffusion(ve, t), expected, rtol=1e-12, atol=0)


def test_closed_forms():
    t = torch.tensor(TIMES, dtype=D)
    vp, sub = VPLinear(), SubVP()
    torch.testing.assert_close(sub.alpha(t), vp.alpha(t))
    torch.testing.assert_close(sub.sigma(t), 1 - vp.alpha(t) ** 2)
    log_alpha = -(t**2) * 19.9 / 4 - t * 0.1 / 2
    torch.testing.assert_close(vp.alpha(t), log_alpha.exp())
    cosine = VPCosine()
    b = math.atan(math.exp(-10))
    angle = (math.atan(math.exp(10)) - b) * t + b
    torch.testing.assert_close(cosine.log_snr(t), -2 * angle.tan().log(), rtol=1e-11, atol=1e-11)
    assert cosine.log_snr(1.0) == pytest.approx(-20, abs=1e-9)
    assert cosine.log_snr(1e-13) == pytest.approx(20, abs=1e-6)
    torch.testing.assert_close(VE().sigma(t), 0.01 * 5000**t)
    assert VE().alpha(t).eq(1).all()
    torch.testing.assert_close(Linear().alpha(t), 1 - t)
    torch.testing.assert_close(Linear().sigma(t), t)
    assert Linear().alpha(1.0) == 0
    assert Linear().log_snr(1.0) == -math.inf
    geometric, r = Geometric(), 0.999 / 3e-5
    torch.testing.assert_close(geometric.sigma(t) ** 2, 3e-5 * r**t)
    # data of variance 1 - v_0 keeps unit variance
    total = geometric.alpha(t) ** 2 * (1 - 3e-5) + geometric.sigma(t) ** 2
    torch.testing.assert_close(total, torch.ones_like(t))


def test_published_numbers():
    assert BetaTable.linear().alpha(1.0) ** 2 == pytest.approx(4.0358e-5, abs=5e-10)
    assert VPLinear().alpha(1.0) ** 2 == pytest.approx(4.3186e-5, abs=5e-10)
    assert BetaTable.quadratic().alpha(1.0) ** 2 == pytest.approx(3.354e-5, abs=5e-9)
    assert BetaTable.linear(100, 1e-4, 0.1).alpha(1.0) ** 2 == pytest.approx(0.0056, abs=5e-5)
    assert BetaTable.linear(1000, 1e-6, 0.01).alpha(1.0) == pytest.approx(0.0813796, abs=5e-8)
    logistic = torch.sigmoid(torch.linspace(-6, 6, 5000, dtype=D)) * (2e-3 - 1e-7) + 1e-7
    assert BetaTable(tuple(logistic.tolist())).alpha(1.0) ** 2 == pytest.approx(0.0067082, abs=5e-8)
    for t, sigma in ((0.1, 0.32205), (0.075, 0.24799), (0.15, 0.46096)):
        assert VPLinear().sigma(t) == pytest.approx(sigma, abs=6e-6)
    assert VPLinear().alpha(0.1) == pytest.approx(0.94672, abs=5e-6)
    assert VE().sigma(1.0) == pytest.approx(50, rel=1e-14)


def test_beta_tables():
    betas = (0.1, 0.2, 0.5, 0.9)
    table, tokens = BetaTable(betas), BetaTable.survival(betas)
    assert table.steps == tokens.steps == 4
    product = 1.0
    for i, beta in enumerate(betas, 1):
        product *= 1 - beta
        assert table.alpha(i / 4) ** 2 == pytest.approx(product, rel=1e-14)
        assert table.sigma(i / 4) ** 2 == pytest.approx(1 - product, rel=1e-14)
        assert tokens.alpha(i / 4) == pytest.approx(product, rel=1e-13)
    # between two steps, log alpha is linear
    middle = 0.5 * (math.log(table.alpha(0.25)) + math.log(table.alpha(0.5)))
    assert math.log(table.alpha(0.375)) == pytest.approx(middle, rel=1e-14)
    # every i / T is on the table, however it was rounded
    long = BetaTable.linear()
    i = torch.arange(1, 1001, dtype=D)
    exact = torch.tensor(long.betas, dtype=D).neg().log1p().cumsum(0).mul(0.5).exp()
    for t in (i / 1000, i * (1 / 1000), torch.linspace(0, 1, 1001, dtype=D)[1:]):
        torch.testing.assert_close(long.alpha(t), exact, rtol=1e-12, atol=0)
    assert all(s.steps is None for s in SCHEDULES.values() if not isinstance(s, BetaTable))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VPLinear(20.0, 0.1), "0 <= beta_min < beta_max"),
        (lambda: SubVP(-1.0, 0.1), "0 <= beta_min"),
        (lambda: VPCosine(5.0, 5.0), "log_snr_min < log_snr_max"),
        (lambda: VE(0.0, 50.0), "0 < sigma_min"),
        (lambda: VE(math.nan, 50.0), "0 < sigma_min"),
        (lambda: Linear(1.0), "alpha_1 < 1"),
        (lambda: Geometric(0.5, 0.1), "v_min < v_max"),
        (lambda: Geometric(0.1, 0.999, 0.2), r"v_max - v_min \+ v_0 < 1"),
        (lambda: BetaTable(()), "0 < beta < 1"),
        (lambda: BetaTable((0.1, 1.0)), "0 < beta < 1"),
        (lambda: BetaTable((0.1, math.nan)), "0 < beta < 1"),
    ],
)
def test_bad_parameters(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize(
    "whole", [VPCosine(log_snr_max=5.0), Geometric(v_max=0.9, v_0=0.01)], ids=repr
)
def test_above_the_least_noise_a_schedule_goes_on(whole):
    """z_t | mu ~ N(alpha_t mu, sigma_t^2) by way of z_0, and what keeps the variance keeps it."""
    own, times = Above(whole), torch.tensor([1e-6, 1e-3, 0.2, 0.7, 1.0], dtype=D)
    alpha, sigma = own.alpha(times), own.sigma(times)
    torch.testing.assert_close(alpha * own.start.alpha, whole.alpha(times))
    variance = (alpha * own.start.sigma) ** 2 + sigma**2
    torch.testing.assert_close(variance.sqrt(), whole.sigma(times))
    if isinstance(whole, VPCosine):
        assert own.start.sigma**2 == pytest.approx(1 / (1 + math.exp(5)))
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(5, dtype=D))
    for wrong, match in ((VPLinear(), "no least noise"), (BetaTable.linear(), "continuous clock")):
        with pytest.raises(ConfigError, match=match):
            Above(wrong)
