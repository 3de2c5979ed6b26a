"""What the samplers of Gaussian kernels share, against formulas and quadrature."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise import denoise
from unnoise.denoise import Flow, Noise, Score, V
from unnoise.denoise.base import clipped
from unnoise.kernels import (
    GaussianKernel,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import adams, level, moments, noise_in, transfer
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import MixtureOracle, PointEstimate

F = torch.float64


def mixture(schedule=None):
    kernel = GaussianKernel(Euclidean(), schedule or VPLinear())
    parts = ([0.4, 0.6], [-1.0, 1.0], [0.3, 0.3])
    return PointEstimate(MixtureOracle(kernel, *(torch.tensor(v, dtype=F) for v in parts)))


def test_the_transfer_of_pndm_is_the_ddim_step():
    model = mixture()
    schedule = model.kernel.schedule
    layout = Layout.dense(64, (2,), dtype=F)
    x = NoiseSource(0, range(64)).normal(layout)
    for t, s in ((1.0, 0.9), (0.7, 0.2), (0.3, 0.01), (0.2, 0.0)):
        law = model(x, t, layout)
        eps = (x - schedule.alpha(t) * law.mean) / schedule.sigma(t)
        ddim = model.kernel.bridge(x, law, t, s, layout, eta=0.0).mean
        now, then = level(schedule, t), level(schedule, s)
        found = transfer(x, noise_in(x, law, now), now, then)
        assert (found - ddim).abs().max() < 1e-12
        # and phi as it is written by Liu 2022, in alpha_bar
        now, then = schedule.alpha(t) ** 2, schedule.alpha(s) ** 2
        root = math.sqrt(now) * (math.sqrt((1 - then) * now) + math.sqrt((1 - now) * then))
        phi = math.sqrt(then / now) * x - (then - now) / root * eps
        assert (phi - ddim).abs().max() < 1e-12


def test_eps_that_the_law_knows_is_that_of_its_mean():
    layout = Layout.dense(3, (5,), dtype=F)
    x, eps = (NoiseSource(seed, range(3)).normal(layout) for seed in (0, 1))
    kernel = GaussianKernel(Euclidean(), VPLinear())
    at = level(kernel.schedule, 0.4)
    for parametrization in (Noise(), V(), Score(), Flow(), denoise.Preconditioned()):
        law = parametrization.law(kernel, eps, x, 0.4, layout)
        found = noise_in(x, law, at)
        torch.testing.assert_close(at.alpha * law.mean + at.sigma * found, x)
    law = Noise().law(kernel, eps, x, 0.4, layout)
    low = clipped(law, (-0.1, 0.1), layout)  # whose eps is another
    torch.testing.assert_close(noise_in(x, low, at), (x - at.alpha * low.mean) / at.sigma)


def test_exponential_moments_against_quadrature():
    for rate, h in ((1.0, 1e-3), (2.0, 0.2), (1.0, 0.6), (1.5, 3.0), (2.0, 12.0)):
        nodes, weights = (torch.tensor(v, dtype=F) for v in _legendre(60))
        z = 0.5 * h * (nodes - 1)
        for k, value in enumerate(moments(rate, h, 4)):
            exact = float((0.5 * h * weights * rate * torch.exp(rate * z) * z**k).sum())
            assert value == pytest.approx(exact, rel=1e-7)
    assert sum(adams((-1.0, -1.7, -2.1), 1.0)) == pytest.approx(1 - math.exp(-1))


def _legendre(n):
    import numpy as np

    return np.polynomial.legendre.leggauss(n)
