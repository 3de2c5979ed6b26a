"""DDIM on linear-Gaussian problems, where a run is a product of 1-D gains."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from unnoise.denoise import Denoiser
from unnoise.distributions import Gaussian
from unnoise.errors import ConfigError
from unnoise.kernels import (
    VE,
    BetaTable,
    GaussianKernel,
    Geometric,
    Linear,
    SubVP,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Ancestral, Diffusion, Start, grids, walk
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle, MixtureOracle, PointEstimate

F = torch.float64
T = 1000
TABLE = BetaTable.linear(T)
ONE = Layout.dense(1, (1,), dtype=F)


def oracle(schedule=TABLE, mean=0.0, variance=0.25) -> GaussianOracle:
    return GaussianOracle(GaussianKernel(Euclidean(), schedule), mean, variance)


def spread(k: int) -> torch.Tensor:
    """round(1 + 999 i / (K - 1)) descending, then 0."""
    times = [round(1 + 999 * i / (k - 1)) for i in range(k)]
    return grids.custom([i / T for i in reversed(times)] + [0.0])


def even(k: int) -> torch.Tensor:
    """round(linspace(1000, 0, K + 1))."""
    return grids.custom([round(1000 * (1 - i / k)) / T for i in range(k + 1)])


def gain(denoiser, grid, sampler=None) -> float:
    """The factor between x_T and the output: x_T = 1, put in through Start."""
    start = Start(torch.ones(1, 1, dtype=F), corrupt=False)
    noise = NoiseSource(0, [0])
    x = start.state(denoiser.kernel, ONE, noise)
    *_, last = walk(sampler or DDIM(), Diffusion(denoiser, ONE, noise), x, grid)
    return last.x.item()


# x_T ~ N(0, 1), so the standard deviation of the output is the gain
SPREAD = {
    5: 0.22509,
    10: 0.36161,
    20: 0.43045,
    50: 0.47192,
    100: 0.48585,
    200: 0.49286,
    500: 0.49709,
    1000: 0.49850,
}
EVEN = {5: 0.26254, 10: 0.36995, 20: 0.43137, 50: 0.47140, 100: 0.48545}


@pytest.mark.parametrize(("steps", "std"), SPREAD.items())
def test_output_std_on_the_spread_grid(steps, std):
    assert gain(PointEstimate(oracle()), spread(steps)) == pytest.approx(std, abs=6e-6)


@pytest.mark.parametrize(("steps", "std"), EVEN.items())
def test_output_std_on_the_even_grid(steps, std):
    denoiser = PointEstimate(oracle())
    assert gain(denoiser, even(steps)) == pytest.approx(std, abs=6e-6)
    # the grid that ships is the even one
    torch.testing.assert_close(grids.uniform(denoiser.kernel, steps), even(steps))


def test_exact_std_is_the_ratio_of_marginals():
    total = 0.25 * TABLE.alpha(1.0) ** 2 + TABLE.sigma(1.0) ** 2
    assert 0.5 / math.sqrt(total) == pytest.approx(0.500008, abs=5e-7)
    assert gain(PointEstimate(oracle()), even(1000)) == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize(
    "schedule",
    [VPLinear(), VPCosine(-10, 10), SubVP(), VE(0.01, 5.0), Geometric(), Linear(1e-3)],
    ids=lambda s: type(s).__name__,
)
def test_own_setting_any_schedule_and_steps_by_hand(schedule):
    # data N(0, v): x_s = (alpha_s G + sigma_s (1 - alpha_t G) / sigma_t) x_t, G = alpha v / total
    v, grid = 2.3, grids.custom([1.0, 0.8, 0.3, 0.05, 0.0])
    expected = 1.0
    times = grid.tolist()
    for t, s in itertools.pairwise(times):
        a, b = schedule.alpha(t), schedule.sigma(t)
        g = a * v / (a**2 * v + b**2)
        expected *= schedule.alpha(s) * g + schedule.sigma(s) * (1 - a * g) / b
    assert gain(PointEstimate(oracle(schedule, 0.0, v)), grid) == pytest.approx(expected, rel=1e-10)


def test_order_one_on_a_gaussian():
    # sqrt(v) / sqrt(total) in the limit; the error halves with the step
    schedule = VPLinear()
    exact = math.sqrt(0.25 / (0.25 * schedule.alpha(1.0) ** 2 + schedule.sigma(1.0) ** 2))
    steps = [160, 320, 640, 1280]
    denoiser = PointEstimate(oracle(schedule))
    errors = [exact - gain(denoiser, grids.uniform(denoiser.kernel, n)) for n in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)


def test_order_one_on_a_mixture():
    # VP, exact eps, t 1 -> 0.01 on a uniform log-SNR grid, against DOP853 at rtol 1e-12
    schedule = VPLinear()
    kernel = GaussianKernel(Euclidean(), schedule)
    weights, means, stds = [0.4, 0.6], [-1.0, 1.0], [0.3, 0.3]
    model = PointEstimate(
        MixtureOracle(kernel, *(torch.tensor(v, dtype=F) for v in (weights, means, stds)))
    )
    x0 = np.linspace(-2.5, 2.5, 11)

    def score(x, a, s):
        v = a**2 * np.square(stds)[:, None] + s**2
        d = x - a * np.array(means)[:, None]
        p = np.array(weights)[:, None] / np.sqrt(v) * np.exp(-(d**2) / (2 * v))
        return (p * -d / v).sum(0) / p.sum(0)

    def ode(t, x):
        beta = 0.1 + t * 19.9
        return -0.5 * beta * (x + score(x, schedule.alpha(t), schedule.sigma(t)))

    exact = solve_ivp(ode, (1.0, 0.01), x0, "DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    ends = [schedule.log_snr(1.0), schedule.log_snr(0.01)]

    def time(level):  # log(1 + e^-level) = -2 log alpha, a quadratic in t
        c = math.log1p(math.exp(-level))
        return (-0.1 + math.sqrt(0.01 + 2 * 19.9 * c)) / 19.9

    steps, errors = [20, 40, 80, 160, 320, 640], []
    layout, noise = Layout.dense(11, dtype=F), NoiseSource(0, range(11))
    for n in steps:
        grid = grids.custom([1.0, *(time(v) for v in np.linspace(*ends, n + 1)[1:-1]), 0.01])
        *_, last = DDIM()(Diffusion(model, layout, noise), torch.tensor(x0), grid)
        errors.append(np.abs(last.x.numpy() - exact).max())
    assert errors == sorted(errors, reverse=True)
    slope = np.polyfit(np.log(steps[3:]), np.log(errors[3:]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)


def test_eta_one_on_the_full_grid_is_ddpm():
    # against Ho 2020, eqs. 7, in the betas alone, and against the ancestral sampler: the same noise
    betas = torch.linspace(1e-4, 0.02, 50, dtype=F)
    schedule = BetaTable.linear(50)
    denoiser = PointEstimate(oracle(schedule, 0.4, 0.25))
    kernel, layout = denoiser.kernel, Layout.dense(3, (2,), dtype=F)
    x = kernel.prior(layout).sample(NoiseSource(1, [0, 1, 2]))
    grid = grids.uniform(kernel, 50)
    ddim = list(DDIM(eta=1.0)(Diffusion(denoiser, layout, NoiseSource(2, [0, 1, 2])), x, grid))
    ancestral = list(Ancestral()(Diffusion(denoiser, layout, NoiseSource(2, [0, 1, 2])), x, grid))
    abar = torch.cat([torch.ones(1, dtype=F), torch.cumprod(1 - betas, 0)])
    noise = NoiseSource(2, [0, 1, 2])
    for step, other, i in zip(ddim, ancestral, range(50, 0, -1), strict=True):
        beta, now, before = betas[i - 1], abar[i], abar[i - 1]
        gain = now.sqrt() * 0.25 / (0.25 * now + 1 - now)
        x0 = 0.4 + gain * (x - now.sqrt() * 0.4)
        mean = (
            before.sqrt() * beta / (1 - now) * x0 + (1 - beta).sqrt() * (1 - before) / (1 - now) * x
        )
        variance = beta * (1 - before) / (1 - now)
        x = mean + variance.sqrt() * (noise.normal(layout) if i > 1 else 0)
        torch.testing.assert_close(step.x, x, rtol=1e-9, atol=1e-9)
        assert torch.equal(step.x, other.x)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_noise_scale_of_eta(eta):
    # c1 = eta sqrt((1 - a_t^2 / a_s^2)(1 - a_s^2) / (1 - a_t^2)) for VP schedules
    kernel, t, s = GaussianKernel(Euclidean(), VPLinear()), 0.7, 0.4
    a_t, a_s = kernel.schedule.alpha(t), kernel.schedule.alpha(s)
    denoiser = PointEstimate(oracle(VPLinear()))
    x = torch.tensor([[1.7]], dtype=F)
    law = kernel.bridge(x, denoiser(x, t, ONE), t, s, ONE, eta)
    c1 = eta * math.sqrt((1 - a_t**2 / a_s**2) * (1 - a_s**2) / (1 - a_t**2))
    assert isinstance(law, Gaussian)
    assert law.std == pytest.approx(c1, abs=1e-12)
    eps = (x - a_t * denoiser(x, t, ONE).mean) / math.sqrt(1 - a_t**2)
    expected = a_s * denoiser(x, t, ONE).mean + math.sqrt(1 - a_s**2 - c1**2) * eps
    torch.testing.assert_close(law.mean, expected)


def test_eta_is_between_zero_and_one():
    assert not DDIM().stochastic
    assert DDIM(0.5).stochastic
    for eta in (-0.1, 1.1, math.nan):
        with pytest.raises(ConfigError, match="eta"):
            DDIM(eta)


def test_a_deterministic_run_draws_no_noise():
    denoiser = PointEstimate(oracle())
    outputs = []
    for seed in (0, 1):
        noise = NoiseSource(seed, [0])
        *_, last = DDIM()(Diffusion(denoiser, ONE, noise), torch.ones(1, 1, dtype=F), even(10))
        outputs.append(last.x)
        fresh = NoiseSource(seed, [0])
        assert torch.equal(noise.normal(ONE), fresh.normal(ONE))
    assert torch.equal(*outputs)


def test_a_run_is_differentiable():
    # d output / d x_T = gain, d output / d mean = 1 - gain alpha_T (data shifted by its mean)
    kernel = GaussianKernel(Euclidean(), TABLE)

    def run(x, mean):
        # sampled from N(mean, 1/4) by hand: shift, run, shift back along alpha_t mean
        denoiser = PointEstimate(GaussianOracle(kernel, 0.0, 0.25))
        start = x - TABLE.alpha(1.0) * mean
        *_, last = DDIM()(Diffusion(denoiser, ONE, NoiseSource(0, [0])), start, even(10))
        return last.x + mean

    x, mean = (torch.tensor([[v]], dtype=F, requires_grad=True) for v in (0.7, 0.2))
    dx, dm = torch.autograd.grad(run(x, mean).sum(), (x, mean))
    assert dx.item() == pytest.approx(0.36995, abs=6e-6)
    assert dm.item() == pytest.approx(1 - dx.item() * TABLE.alpha(1.0))
    # and through the noise of a stochastic run, to the parameters of the denoiser
    scale = torch.tensor(0.5, dtype=F, requires_grad=True)
    model = _Scaled(kernel, scale)
    *_, last = Ancestral()(Diffusion(model, ONE, NoiseSource(0, [0])), x, even(2))
    (slope,) = torch.autograd.grad(last.x.sum(), scale)
    with torch.no_grad():
        ends = []
        for h in (1e-6, -1e-6):
            *_, last = Ancestral()(
                Diffusion(_Scaled(kernel, scale + h), ONE, NoiseSource(0, [0])), x, even(2)
            )
            ends.append(last.x.item())
    assert slope.item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


class _Scaled(Denoiser):
    """E[x_0 | x_t] = scale x_t, with a standard deviation that is its parameter too."""

    def __init__(self, kernel, scale):
        super().__init__()
        self.kernel, self.scale = kernel, scale

    def forward(self, x_t, t, layout, condition=None):
        return Gaussian(self.scale * x_t, self.scale.expand(1), self.kernel.space, layout)
