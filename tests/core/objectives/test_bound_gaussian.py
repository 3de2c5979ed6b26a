"""The variational bound of exact Gaussian data, of parts, batches and chains."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from unnoise.distributions import Gaussian
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    ProductKernel,
    SubVP,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import bound
from unnoise.samplers import Diffusion
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM
from unnoise.testing import GaussianOracle, PmfOracle, PointEstimate

sys.path.insert(0, str(Path(__file__).parent))
from bound_models import Apart, F, dense, gaussian, gaussian_expected, log_normal


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize(
    "schedule", [Linear(), VPLinear(0.1, 3.0)], ids=["no signal left", "signal left"]
)
def test_exact_law_of_gaussian_data_at_any_number_of_steps(steps, schedule):
    # 20,000 independent entries: within 5 standard errors of the estimate, false alarm 6e-7
    m, v = 0.7, 2.0
    model = GaussianOracle(GaussianKernel(Euclidean(), schedule), m, v)
    g = torch.Generator().manual_seed(0)
    x0 = m + math.sqrt(v) * torch.randn(20_000, 1, generator=g, dtype=F)
    x0, layout = x0.view(20, 1000), Layout.dense(20, (1000,), dtype=F)
    found = bound(Diffusion(model, layout, NoiseSource(0, range(20))), x0, steps=steps).total
    expected = gaussian_expected(x0, m, v, schedule)
    error = (found - expected).std().item() / math.sqrt(20)
    assert error < 0.02 * 1000
    assert abs((found - expected).mean().item()) < 6 * error  # t_19: false alarm 9e-6
    if isinstance(schedule, Linear):  # nothing left: the bound is -log p itself
        nll = 0.5 * ((x0 - m) ** 2 / v + math.log(2 * math.pi * v)).sum(1)
        torch.testing.assert_close(expected, nll)


def test_a_point_estimate_and_a_wrong_law_cost_more():
    kernel = GaussianKernel(Euclidean(), Linear())
    g = torch.Generator().manual_seed(1)
    x0, layout = torch.randn(10, 2000, generator=g, dtype=F), Layout.dense(10, (2000,), dtype=F)
    exact = 0.5 * (x0**2 + math.log(2 * math.pi)).sum(1)
    right = GaussianOracle(kernel, 0.0, 1.0)
    for model in (
        GaussianOracle(kernel, 0.5, 1.0),
        GaussianOracle(kernel, 0.0, 2.0),
        GaussianOracle(kernel, 0.0, 0.5),
        PointEstimate(right),
    ):
        found = bound(Diffusion(model, layout, NoiseSource(0, range(10))), x0, steps=5)
        assert (found.total > exact + 20).all()  # some percent of 2,000 entries
    # the wrong mean by hand, one step from an end without signal: KL of two Gaussians
    wrong = bound(
        Diffusion(GaussianOracle(kernel, 0.5, 1.0), layout, NoiseSource(0, range(10))), x0, steps=1
    )
    expected = 0.5 * ((x0 - 0.5) ** 2 + math.log(2 * math.pi)).sum(1)
    torch.testing.assert_close(wrong.total, expected)
    assert (wrong.prior == 0).all()


def test_point_estimate_by_hand():
    # Dirac prediction: an inner term is c0^2 E|x_0 - E[x_0|x_t]|^2 / (2 c^2), c and c0 those of
    # the posterior; E|x_0 - E[x_0|x_t]|^2 = v sigma^2 / (alpha^2 v + sigma^2) over data and noise
    v, steps, schedule = 1.7, 4, VPLinear(0.1, 8.0)
    kernel = GaussianKernel(Euclidean(), schedule)
    g = torch.Generator().manual_seed(2)
    x0 = math.sqrt(v) * torch.randn(40, 2000, generator=g, dtype=F)
    layout = Layout.dense(40, (2000,), dtype=F)
    model = PointEstimate(GaussianOracle(kernel, 0.0, v))
    found = bound(Diffusion(model, layout, NoiseSource(5, range(40))), x0, steps=steps)
    expected = 0.0
    for i in range(1, steps):
        t, s = (i + 1) / steps, i / steps
        at, st, as_, ss = (f(u) for u in (t, s) for f in (schedule.alpha, schedule.sigma))
        c2 = ss**2 * (1 - (at * ss / (as_ * st)) ** 2)
        c0 = as_ - at * (ss**2 - c2) ** 0.5 / st
        expected += c0**2 * v * st**2 / (at**2 * v + st**2) / (2 * c2)
    per_entry = found.steps / 2000
    error = per_entry.std().item() / math.sqrt(40)
    assert abs(per_entry.mean().item() - expected) < 6 * error  # t_39: false alarm 5e-7


@pytest.mark.parametrize("schedule", [VPCosine(-10.0, 10.0), SubVP()])
@pytest.mark.parametrize("evaluations", [None, 5])
def test_an_exact_law_reaches_the_likelihood_at_every_step_count(schedule, evaluations):
    """With the exact N(mean, variance) of x_0 given x_t the reverse chain is the exact one."""
    n, point = 1000, 0.7
    x = torch.full((n, 1), point, dtype=F)
    oracle = GaussianOracle(gaussian(schedule), 0.0, 0.25)
    noise = NoiseSource(1, range(n))
    found = bound(Diffusion(oracle, dense(x), noise), x, steps=12, evaluations=evaluations)
    a, s = schedule.alpha(1.0), schedule.sigma(1.0)
    prior = 0.5 * (a * point / s) ** 2
    assert found.prior[0].item() == pytest.approx(prior, rel=1e-9)
    # the chain starts from N(0, s^2), the data end in N(0, a^2 / 4 + s^2)
    v1 = 0.25 * a**2 + s**2
    extra = 0.5 * (math.log(s**2 / v1) + (a**2 * point**2 + s**2) * (1 / s**2 - 1 / v1))
    exact = -log_normal(torch.tensor(point), 0.25).item() + extra
    error = found.total.std().item() / n**0.5
    assert found.total.mean().item() == pytest.approx(exact, abs=4 * error)
    if evaluations is None:
        # what it says of itself is what it does
        claimed = found.standard_error.square().mean().sqrt().item()
        assert 0.8 < claimed / found.total.std().item() < 1.3


def test_last_step_of_a_point_prediction():
    """N(mean, (sigma / alpha)^2) at the first time above 0."""
    n, schedule = 4000, VPLinear()
    x = torch.full((n, 1), 0.4, dtype=F)
    oracle = PointEstimate(GaussianOracle(gaussian(schedule), 0.0, 0.25))
    found = bound(Diffusion(oracle, dense(x), NoiseSource(0, range(n))), x, steps=20, evaluations=2)
    a, s = schedule.alpha(0.05), schedule.sigma(0.05)
    gain = 0.25 * a / (0.25 * a**2 + s**2)
    square = (gain * s) ** 2 + ((1 - gain * a) * 0.4) ** 2
    exact = 0.5 * (square * (a / s) ** 2 + math.log(2 * math.pi * (s / a) ** 2))
    error = found.reconstruction.std().item() / n**0.5
    assert found.reconstruction.mean().item() == pytest.approx(exact, abs=4 * error)
    assert found.evaluations == 6


def test_bound_of_centred_points_counts_their_degrees_of_freedom():
    # data v P on n points in 2-D: 2 (n - 1) dimensions, so -log p is that of as many numbers
    kernel, v = GaussianKernel(ZeroCoM(), Linear()), 0.6
    layout = Layout.ragged([2, 5, 1], (2,), dtype=F)
    noise = NoiseSource(0, range(3))
    x0 = Gaussian(torch.zeros(8, 2, dtype=F), v**0.5, ZeroCoM(), layout).sample(noise)
    found = bound(Diffusion(GaussianOracle(kernel, 0.0, v), layout, noise), x0, steps=1)
    dof = torch.tensor([2.0, 8, 0], dtype=F)
    nll = 0.5 * (layout.sum(x0**2) / v + dof * math.log(2 * math.pi * v))
    torch.testing.assert_close(found.total, nll)


def test_bound_of_independent_parts_is_their_sum():
    real = GaussianOracle(GaussianKernel(Euclidean(), Linear()), 0.3, 2.0)
    token = PmfOracle(CategoricalKernel(Tokens(3), Absorbing(2)), torch.tensor([0.4, 0.6], dtype=F))
    kernel = ProductKernel({"x": real.kernel, "k": token.kernel})
    layouts = {"x": Layout.dense(3, (4,), dtype=F), "k": Layout.dense(3, (1,), dtype=torch.int64)}
    x0 = {"x": torch.randn(3, 4, dtype=F), "k": torch.tensor([[0], [1], [1]])}
    model = Apart(kernel, x=real, k=token)
    both = bound(Diffusion(model, Layout.product(layouts), NoiseSource(0, range(3))), x0, steps=1)
    alone = [
        bound(Diffusion(m, layouts[n], NoiseSource(0, range(3))), x0[n], steps=1).total
        for n, m in (("x", real), ("k", token))
    ]
    torch.testing.assert_close(both.total, alone[0] + alone[1])
    assert both.total.dtype == F
