"""Purification by the exact denoiser of a mixture: what comes out is known in closed form."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from exact_mixture import Mixture, accuracy, posterior, trained

from unnoise.kernels import VE, GaussianKernel, Linear, VPCosine, VPLinear
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, grids
from unnoise.samplers.strength import limits, time_of_strength
from unnoise.spaces import Euclidean, Layout
from unnoise_purify.purifier import Purifier

F = torch.float64
VP = GaussianKernel(Euclidean(), VPLinear())
ROWS, WIDTH = 8, 2500
# mean probability of the right component at t* of the linear schedule and at shifts of the data
TABLE = {
    (0.01, 0.0): 0.9992,
    (0.1, 0.0): 0.9792,
    (0.15, 0.0): 0.9289,
    (0.3, 0.0): 0.7036,
    (0.01, -0.5): 0.944,
    (0.1, -0.5): 0.8465,
    (0.15, -0.5): 0.7692,
    (0.3, -0.5): 0.6057,
    (0.01, -1.0): 0.5,
    (0.1, -1.0): 0.5,
    (0.15, -1.0): 0.5,
    (0.3, -1.0): 0.5,
}


def data(shift, width=WIDTH):
    generator = torch.Generator().manual_seed(3)
    return 1 + shift + 0.3 * torch.randn(ROWS, width, dtype=F, generator=generator)


@pytest.mark.parametrize(("t", "sigma"), [(0.1, 0.32205), (0.075, 0.24799), (0.15, 0.46096)])
def test_strength_is_the_sigma_of_the_linear_schedule(t, sigma):
    assert VP.schedule.sigma(t) == pytest.approx(sigma, abs=1e-5)
    assert time_of_strength(VP, VP.schedule.sigma(t)) == pytest.approx(t, abs=1e-12)


@pytest.mark.parametrize(("linear", "cosine"), [(0.1, 0.20873), (0.15, 0.30498), (0.3, 0.56648)])
def test_one_strength_is_another_time_of_another_schedule(linear, cosine):
    other = GaussianKernel(Euclidean(), VPCosine())
    found = time_of_strength(other, VP.schedule.sigma(linear))
    assert found == pytest.approx(cosine, abs=1e-5)


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine(), VE(), Linear()])
def test_a_strength_is_one_ratio_of_noise_to_signal(schedule):
    kernel = GaussianKernel(Euclidean(), schedule)
    t = time_of_strength(kernel, 0.6)
    assert schedule.sigma(t) / schedule.alpha(t) == pytest.approx(0.6 / 0.8, rel=1e-9)


@pytest.mark.parametrize(("t", "shift"), TABLE)
def test_the_twelve_numbers(t, shift):
    exact = accuracy(VP.schedule.alpha(t), VP.schedule.sigma(t), shift)
    assert exact == pytest.approx(TABLE[t, shift], abs=6e-5)
    x = data(shift)
    layout = Layout.dense(*x.shape[:1], x.shape[1:], dtype=F)
    purifier = Purifier(trained(Mixture(VP)), VP.schedule.sigma(t), steps=60)
    clean = purifier(x, layout, noise=NoiseSource(0, range(ROWS)))
    right = posterior(clean)
    # 5 standard errors, and what 60 steps leave: a moment-matched law of x_0 is not the mixture
    error = 5 * float(right.std()) / right.numel() ** 0.5
    assert float(right.mean()) == pytest.approx(exact, abs=error + 2e-3)


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine()])
def test_no_strength_returns_the_input(schedule):
    kernel = GaussianKernel(Euclidean(), schedule)
    low, _ = limits(kernel)
    x = data(0.0, 100)
    layout = Layout.dense(ROWS, (100,), dtype=F)
    purifier = Purifier(trained(Mixture(kernel)), low, steps=3)
    found = purifier(x, layout, noise=NoiseSource(1, range(ROWS)))
    # noise is added once and drawn once more: 800 numbers within 5 of its standard deviations
    assert float((found - x).abs().max()) < 5 * 2**0.5 * low
    assert not torch.equal(found, x)


def test_the_floor_is_that_of_the_schedule():
    """2e-4 at t = 1e-6 of the cosine schedule, whose noise there is 4.7e-5."""
    kernel = GaussianKernel(Euclidean(), VPCosine())
    x = data(0.0, 100)
    layout = Layout.dense(ROWS, (100,), dtype=F)
    begun = kernel.marginal(x, 1e-6, layout).sample(NoiseSource(1, range(ROWS)))
    found = Mixture(kernel, point=True)(begun, 1e-6, layout).mean
    assert float((found - x).abs().max()) < 2.5e-4


def test_purified_data_have_the_law_of_the_data():
    """Whatever the strength: the chain forward and back leaves the mixture as it is."""
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(ROWS, WIDTH, dtype=F, generator=generator)
    x += torch.randint(0, 2, x.shape, generator=generator) * 2 - 1
    layout = Layout.dense(ROWS, (WIDTH,), dtype=F)
    for strength in (0.3, 0.9):
        purifier = Purifier(trained(Mixture(VP)), strength, steps=60)
        found = purifier(x, layout, noise=NoiseSource(2, range(ROWS)))
        count = found.numel() ** 0.5
        assert abs(float(found.mean())) < 5 * 1.04 / count + 1e-2
        assert float(found.square().mean()) == pytest.approx(1.09, abs=5 * 0.7 / count + 1e-2)


def test_one_step_is_one_evaluation():
    purifier = Purifier(trained(Mixture(VP, point=True)), 0.5, sampler=DDIM(), steps=1)
    x = data(0.0, 10)
    layout = Layout.dense(ROWS, (10,), dtype=F)
    found = purifier(x, layout, noise=NoiseSource(0, range(ROWS)))
    begun = VP.marginal(x, purifier.t, layout).sample(NoiseSource(0, range(ROWS)))
    expected = purifier.model.denoiser(begun, purifier.t, layout).mean
    assert torch.allclose(found, expected, atol=1e-12)
    assert purifier.evaluations == 1
    assert replace(purifier, steps=7, grid=grids.log_snr).evaluations == 7
