"""Energies: quadratic ones are Gaussian laws; Langevin's steps have their stationary variance."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unnoise.denoise import Energy
from unnoise.errors import ConfigError, IncompatibleSampler, InputError
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    VPLinear,
    coarse,
)
from unnoise.kernels.survival import CosineSurvival
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, RecoveryLikelihood, auroc
from unnoise.samplers import DDIM, Diffusion, Recovery, Restart, grids, walk
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM
from unnoise.testing import GaussianOracle

D = torch.float64
V = 0.25
W = 0.1


class Quadratic(nn.Module):
    """The exact f of data N(0, V): F_t = -|x|^2 / (2 (alpha^2 V + sigma^2)), times `gain`."""

    def __init__(self, schedule, gain=1.0, width=W):
        super().__init__()
        self.schedule, self.width = schedule, width
        self.gain = nn.Parameter(torch.tensor(gain, dtype=D))

    def forward(self, x, label, layout, condition):
        t = label.double()
        sigma2 = self.schedule.sigma(t) ** 2
        total = self.schedule.alpha(t) ** 2 * V + sigma2
        return -self.gain * layout.sum(x**2) / 2 / total * (sigma2 + self.width**2)


def energy(schedule=None, gain=1.0, space=None, width=W):
    schedule = coarse(6) if schedule is None else schedule
    kernel = GaussianKernel(Euclidean() if space is None else space, schedule)
    return Energy(Quadratic(schedule, gain, width), kernel, width)


@pytest.mark.parametrize("t", [0.001, 0.25, 0.5, 1.0])
def test_a_quadratic_energy_is_the_denoiser_of_a_gaussian(t):
    schedule = VPLinear()
    denoiser = energy(schedule)
    layout, x = Layout.dense(9, (3,), dtype=D), torch.randn(9, 3, dtype=D)
    exact = GaussianOracle(denoiser.kernel, 0.0, V)(x, t, layout)
    torch.testing.assert_close(denoiser(x, t, layout).mean, exact.mean, rtol=1e-6, atol=1e-9)
    with torch.no_grad():  # and no graph is kept where nobody asks
        assert not denoiser(x, t, layout).mean.requires_grad
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    expected = -(x**2).sum(1) / (2 * (alpha**2 * V + sigma**2))
    torch.testing.assert_close(denoiser.log_density(x, t, layout), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", [0.5, 1.0])
@pytest.mark.parametrize("level", [0, 2, 5])
def test_langevin_has_the_stationary_law_of_a_gaussian_conditional(level, size):
    """Precision k = 1 / (r^2 v_s) + 1 / c^2 of y = r x_s, mean x_t / (c^2 k), variance
    1 / (k (1 - b^2 k / 4))."""
    denoiser = energy()
    schedule, n = denoiser.kernel.schedule, 4000
    s, t = level / 6, (level + 1) / 6
    r = schedule.alpha(t) / schedule.alpha(s)
    c2 = schedule.sigma(t) ** 2 - (r * schedule.sigma(s)) ** 2
    k = 1 / (r**2 * (schedule.alpha(s) ** 2 * V + schedule.sigma(s) ** 2)) + 1 / c2
    layout = Layout.dense(1, (n,), dtype=D)
    b2 = size**2 / (1 / c2 + 1 / (r**2 * (schedule.sigma(s) ** 2 + W**2)))
    many = int(10 / (b2 * k / 2)) + 1
    run = Diffusion(denoiser, layout, NoiseSource(level, range(1)))
    y = r * Recovery(many, size).level(run, torch.full((1, n), 0.7, dtype=D), t, s)
    variance = 1 / (k * (1 - b2 * k / 4))
    assert y.mean().item() == pytest.approx(0.7 / (c2 * k), abs=5 * (variance / n) ** 0.5)
    assert y.var().item() == pytest.approx(variance, rel=5 * (2 / n) ** 0.5)


def test_recovery_brings_back_the_data():
    denoiser, n = energy(width=V**0.5), 4000
    run = Diffusion(denoiser, Layout.dense(1, (n,), dtype=D), NoiseSource(0, range(1)))
    x = denoiser.kernel.prior(run.layout).sample(run.noise)
    for step in Recovery(60, 0.5)(run, x, grids.uniform(denoiser.kernel, 6)):
        x = step.x
    assert step.t == 0
    # each conditional has up to 1 / (1 - .09 / 4 (1 + ...)) times its variance
    assert V * 0.9 < x.var().item() < V * 1.2


def test_each_score_is_an_evaluation():
    denoiser = energy()
    run = Diffusion(denoiser, Layout.dense(2, (3,), dtype=D), NoiseSource(0, range(2)))
    x = denoiser.kernel.prior(run.layout).sample(run.noise)
    sampler = Recovery(5)
    assert len(list(sampler(run, x, grids.uniform(denoiser.kernel, 6)))) == 6
    assert run.evaluations == 6 * sampler.evaluations == 6 * 6


def test_the_state_stays_in_its_space():
    denoiser = energy(space=ZeroCoM())
    layout = Layout.dense(5, (4, 2), dtype=D)
    run = Diffusion(denoiser, layout, NoiseSource(0, range(5)))
    x = denoiser.kernel.prior(layout).sample(run.noise)
    x = Recovery(5).level(run, x, 0.5, 1 / 3)
    torch.testing.assert_close(x.mean(1), torch.zeros(5, 2, dtype=D), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("gain", "sign"), [(0.5, -1), (1.0, 0), (2.0, 1)])
def test_recovery_likelihood_is_flat_at_the_truth(gain, sign):
    """Its gradient in the gain of the quadratic energy, -E[f(x')] + E[f(x)] by parts, is 0 where
    the law is the data's and pushes towards it elsewhere."""
    n = 1000
    denoiser = energy(gain=gain)
    x0 = V**0.5 * torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=D)
    batch = Batch(x0, Layout.dense(n, (1,), dtype=D))
    found = RecoveryLikelihood(6, Recovery(60, 0.5))(denoiser, batch, NoiseSource(0, range(n)))
    assert found.shape == (n,)
    (slope,) = torch.autograd.grad(found.mean(), denoiser.network.gain)
    error = 5 * found.detach().std().item() / gain / n**0.5
    assert abs(slope.item()) < error + 0.005 if sign == 0 else sign * slope.item() > error


def test_auroc_counts_pairs():
    usual, unusual = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.0, 2.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in usual.tolist() for b in unusual.tolist()]
    assert auroc(usual, unusual) == pytest.approx(sum(pairs) / 6)
    assert auroc(usual, usual) == 0.5
    assert auroc(usual, unusual) == pytest.approx(1 - auroc(unusual, usual))
    for bad in (torch.zeros(0), torch.tensor([float("nan")])):
        with pytest.raises(InputError):
            auroc(usual, bad)


def test_unusual_states_have_less_density():
    denoiser, layout = energy(), Layout.dense(200, (4,), dtype=D)
    x = torch.randn(200, 4, dtype=D, generator=torch.Generator().manual_seed(0))
    far, near = (denoiser.log_density(k * V**0.5 * x, 0.0, layout) for k in (3.0, 1.0))
    assert auroc(near.detach(), far.detach()) > 0.95


def test_what_does_not_fit_is_refused():
    kernel = GaussianKernel(Euclidean(), coarse(6))
    layout = Layout.dense(2, (3,), dtype=D)
    x = torch.zeros(2, 3, dtype=D)
    with pytest.raises(ConfigError, match="GaussianKernel"):
        Energy(nn.Identity(), CategoricalKernel(Tokens(3), Absorbing(2, CosineSurvival())))
    with pytest.raises(ConfigError, match="width"):
        Energy(nn.Identity(), kernel, 0.0)

    class Many(nn.Module):
        def forward(self, x, label, layout, condition):
            return x

    with pytest.raises(ConfigError, match="one number per sample"):
        Energy(Many(), kernel).log_density(x, 0.5, layout)
    run = Diffusion(GaussianOracle(kernel, 0.0, 1.0), layout, NoiseSource(0, range(2)))
    with pytest.raises(IncompatibleSampler, match="needs an Energy; got 'GaussianOracle'"):
        Recovery().level(run, x, 0.5, 0.25)
    with pytest.raises(IncompatibleSampler, match="Energy"):
        run.score(x, 0.0)
    for sampler in (Recovery(), Restart(Recovery(), ((0.2, 0.6, 1),))):
        with pytest.raises(IncompatibleSampler, match="needs an Energy"):
            next(walk(sampler, run, x, grids.uniform(kernel, 6)))
    assert run.evaluations == 0
    with pytest.raises(ConfigError, match="another chain"):
        RecoveryLikelihood(5)(energy(), Batch(x, layout), NoiseSource(0, range(2)))
    for wrong in ((0, 0.3), (3, 0.0), (3, 2.0)):
        with pytest.raises(ConfigError, match="Langevin"):
            Recovery(*wrong)
    run = Diffusion(energy(), layout, NoiseSource(0, range(2)))
    steps = list(DDIM()(run, torch.ones(2, 3, dtype=D), grids.uniform(energy().kernel, 3)))
    assert len(steps) == 3  # other samplers take its point
