"""Learned schedules: the diffusion loss in closed form, and what each parameter is trained on."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from unnoise.denoise import Flow, NetworkDenoiser, Noise, fourier_features
from unnoise.errors import ConfigError
from unnoise.kernels import (
    GaussianKernel,
    Interior,
    LearnedSchedule,
    LinearInterior,
    MonotoneInterior,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import VDM, Batch, Quantised
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle

F64 = torch.float64


class Nodes(NoiseSource):
    """Quadrature: given signs as noise and given numbers as times."""

    def __init__(self, signs, times):
        super().__init__(0, range(len(signs)))
        self.signs, self.numbers = signs, times

    def normal(self, layout):
        return self.signs.view(layout.shape).to(layout.dtype)

    def times(self):
        return self.numbers


class Cubic(Interior):
    def forward(self, t):
        return t**3 + 0.05 * t

    def slope(self, t):
        return 3 * t**2 + 0.05


def diffusion(variance, interior, ends, steps=None):
    """The mean of the shipped loss over times, data +-s and noise +-1: exact, since the loss is a
    square in both."""
    schedule = LearnedSchedule(interior, *ends, ends="fixed")
    if steps is None:
        nodes, weights = np.polynomial.legendre.leggauss(200)
        u, w = torch.tensor((1 - nodes) / 2), torch.tensor(weights / 2)
    else:
        u = (torch.arange(steps, dtype=F64) + 0.5) / steps
        w = torch.full_like(u, 1 / steps)
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=F64).repeat(len(u), 1)
    x0 = signs[:, :1] * variance**0.5
    layout = Layout.dense(len(x0), (1,), dtype=F64)
    noise = Nodes(signs[:, 1], u.repeat_interleave(4))
    oracle = GaussianOracle(GaussianKernel(Euclidean(), schedule), 0.0, variance)
    loss = VDM(steps=steps).diffusion(oracle, Batch(x0, layout), noise)
    return (loss.view(-1, 4).mean(1) * w).sum().item()


@pytest.mark.parametrize("interior", [LinearInterior(), Cubic(), MonotoneInterior(8)])
@pytest.mark.parametrize(
    ("variance", "ends", "nats"),
    [
        (1.0, (-13.3, 5.0), 6.646643),
        (0.25, (-13.3, 5.0), 5.956015),
        (0.04, (-10.0, 4.0), None),
    ],
)
def test_diffusion_loss_does_not_depend_on_the_interior(interior, variance, ends, nats):
    first, last = (1 + variance * math.exp(-g) for g in ends)
    closed = 0.5 * math.log(first / last)
    assert nats is None or closed == pytest.approx(nats, abs=1e-6)
    assert diffusion(variance, interior, ends) == pytest.approx(closed, abs=1e-6)


@pytest.mark.parametrize(
    ("steps", "variance", "nats"),
    [(10, 1.0, 17.7079), (100, 1.0, 7.24379), (1000, 1.0, 6.703246), (30, 0.25, None)],
)
def test_diffusion_loss_in_finitely_many_steps(steps, variance, nats):
    gamma = torch.linspace(-13.3, 5.0, steps + 1, dtype=F64)
    # E|eps - eps_hat|^2 = SNR Var[x_0 | x_t] = v SNR / (1 + v SNR)
    snr = torch.exp(-gamma[1:])
    terms = torch.expm1(gamma.diff()) * variance * snr / (1 + variance * snr)
    closed = 0.5 * terms.sum().item()
    assert nats is None or closed == pytest.approx(nats, rel=1e-5)
    assert diffusion(variance, None, (-13.3, 5.0), steps) == pytest.approx(closed, rel=1e-9)


def test_the_schedule():
    schedule = LearnedSchedule(MonotoneInterior(16), -13.3, 5.0)
    t = torch.linspace(0.001, 1, 200, dtype=F64)
    with torch.no_grad():
        gamma = -schedule.log_snr(t)
        assert bool((gamma.diff() > 0).all())
        torch.testing.assert_close(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 0 * t + 1)
        assert gamma[-1].item() == pytest.approx(5.0)
        h = 1e-6
        for value, slope in (
            (schedule.alpha, schedule.d_alpha),
            (schedule.sigma, schedule.d_sigma),
        ):
            middle = t[1:-1]
            numeric = (value(middle + h) - value(middle - h)) / (2 * h)
            torch.testing.assert_close(slope(middle), numeric, rtol=1e-4, atol=1e-7)
        assert schedule.alpha(0.3) == schedule.alpha(torch.tensor([0.3], dtype=F64)).item()
        assert isinstance(schedule.sigma(0.3), float)
        assert (schedule.alpha(0.0), schedule.sigma(0.0)) == (1.0, 0.0)
        assert schedule.sigma(torch.zeros(1, dtype=F64)).item() == 0
        ends = schedule.gamma(schedule.position(torch.tensor([0.0, 1.0], dtype=F64)).r)
        assert ends.tolist() == pytest.approx([-13.3, 5.0])
    with pytest.raises(ConfigError, match="in order"):
        LearnedSchedule(None, 5.0, -13.3)


class Linear(nn.Module):
    """eps_hat = w x_t, with float64 weights."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.6, dtype=F64))

    def forward(self, x, label, layout, condition):
        return self.w * x


def model(interior=None, gamma_min=-6.0):
    schedule = LearnedSchedule(interior, gamma_min, 5.0)
    return NetworkDenoiser(Linear(), GaussianKernel(Euclidean(), schedule), Noise())


def batch(n, seed=0):
    x0 = 0.5 * torch.randn(n, 1, dtype=F64, generator=torch.Generator().manual_seed(seed))
    return Batch(x0, Layout.dense(n, (1,), dtype=F64))


def test_a_learned_schedule_is_trained_and_saved_with_the_network():
    denoiser = model(MonotoneInterior(4))
    names = dict(denoiser.named_parameters())
    assert {"learned.0.first", "learned.0.span", "network.w"} <= set(names)
    twin = copy.deepcopy(denoiser)
    assert twin.kernel.schedule is twin.learned[0]
    assert twin.kernel.schedule is not denoiser.kernel.schedule


@pytest.mark.parametrize("steps", [None, 20])
def test_ends_follow_the_bound_and_the_interior_the_square(steps):
    """The gradients of one objective against differences of what each group minimises."""
    torch.manual_seed(0)
    denoiser, data = model(MonotoneInterior(3)), batch(64)
    objective = VDM(steps=steps)
    schedule = denoiser.kernel.schedule

    def loss():
        return objective(denoiser, data, NoiseSource(3, range(64)))

    def square():
        return objective.diffusion(denoiser, data, NoiseSource(3, range(64))) ** 2

    loss().sum().backward()
    interior = schedule.interior
    # a float32 parameter moves by a step that it can represent
    for parameter, target, h in [
        (denoiser.network.w, loss, 1e-5),
        (schedule.first, loss, 1e-5),
        (schedule.span, loss, 1e-5),
        (interior.height, square, 2.0**-10),
        (interior.steepness, square, 2.0**-8),
        (interior.shift, square, 2.0**-8),
    ]:
        values = []
        flat = parameter.data.view(-1)
        kept = flat[0].clone()
        for sign in (1, -1):
            flat[0] = kept + sign * h
            moved = flat[0].clone()
            with torch.no_grad():
                values.append((target().sum().item(), moved.item()))
        flat[0] = kept
        (a, up), (b, down) = values
        assert parameter.grad.view(-1)[0].item() == pytest.approx((a - b) / (up - down), rel=2e-3)


def test_training_the_interior_lowers_the_variance_and_leaves_the_mean():
    torch.manual_seed(0)
    interior = MonotoneInterior(16)
    schedule = LearnedSchedule(interior, -6.0, 5.0, ends="fixed")
    # eps_hat = x_t has an error that lies at small t only
    denoiser = NetworkDenoiser(Linear(), GaussianKernel(Euclidean(), schedule), Noise())
    optimizer = torch.optim.Adam(interior.parameters(), 0.05)
    objective = VDM()

    def estimate(seed):
        with torch.no_grad():
            return objective.diffusion(denoiser, batch(4000), NoiseSource(seed, range(4000)))

    before = estimate(9)
    for step in range(60):
        optimizer.zero_grad()
        objective(denoiser, batch(128, step), NoiseSource(step, range(128))).mean().backward()
        optimizer.step()
    after = estimate(9)
    assert after.var() < 0.8 * before.var()
    error = ((after.var() + before.var()) / 4000).sqrt().item()
    assert after.mean().item() == pytest.approx(before.mean().item(), abs=4 * error)


def test_the_whole_objective_is_the_bound():
    """Exact score, continuous data: prior + diffusion + reconstruction is -log p of the data as
    the model sees them, a density of x_0 through its noise at the first end point."""
    ends, variance, n = (-8.0, 5.0), 0.25, 20_000
    schedule = LearnedSchedule(None, *ends, ends="fixed")
    oracle = GaussianOracle(GaussianKernel(Euclidean(), schedule), 0.0, variance)
    found = VDM()(oracle, batch(n), NoiseSource(0, range(n)))
    first, last = (math.exp(g) for g in ends)
    closed = 0.5 * math.log((1 + variance / first) / (1 + variance / last))
    closed += 0.5 * variance / last + 0.5 * (1 + math.log(2 * math.pi * first))
    error = found.std().item() / n**0.5
    assert found.mean().item() == pytest.approx(closed, abs=4 * error)
    truth = 0.5 * (1 + math.log(2 * math.pi * variance))
    assert closed == pytest.approx(truth, abs=0.01)


def test_levels_of_8_bit_data():
    denoiser = model(gamma_min=-13.3)
    levels = torch.randint(0, 256, (16, 4), generator=torch.Generator().manual_seed(0))
    x0 = (levels / 127.5 - 1).double()
    data = Batch(x0, Layout.dense(16, (4,), dtype=F64))
    found = VDM(Quantised())(denoiser, data, NoiseSource(0, range(16)))
    assert bool((found > 0).all())
    found.sum().backward()
    assert bool(torch.isfinite(denoiser.kernel.schedule.first.grad))


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    plain = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 0.25)
    with pytest.raises(ConfigError, match="LearnedSchedule"):
        VDM()(plain, batch(2), NoiseSource(0, range(2)))
    flow = NetworkDenoiser(Linear(), GaussianKernel(Euclidean(), LearnedSchedule()), Flow())
    with pytest.raises(ConfigError, match="Noise"):
        VDM()(flow, batch(2), NoiseSource(0, range(2)))
    with pytest.raises(ConfigError, match="step"):
        VDM(steps=0)
    with pytest.raises(ConfigError, match="end points"):
        LearnedSchedule(ends="free")


def test_fourier_features():
    x = torch.tensor([[[1 / 128]], [[0.0]]])
    found = fourier_features(x)
    assert found.shape == (2, 5, 1)
    expected = [1 / 128, math.sin(math.pi / 2), math.sin(math.pi), 0.0, -1.0]
    assert found[0, :, 0].tolist() == pytest.approx(expected, abs=1e-6)
