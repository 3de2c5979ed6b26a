"""DDIM's inversion and interpolation: METHODS, section 4."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unnoise.errors import IncompatibleSampler, InputError
from unnoise.kernels import Absorbing, CategoricalKernel, GaussianKernel, Linear, VPLinear
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, AdaptiveODE, Diffusion, Start, grids, invert, slerp
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import GaussianOracle, MixtureOracle, PmfOracle, PointEstimate

F = torch.float64
SILENT = NoiseSource(0, [])


def mixture(schedule):
    parts = ([0.4, 0.6], [-1.0, 1.0], [0.3, 0.3])
    kernel = GaussianKernel(Euclidean(), schedule)
    return PointEstimate(MixtureOracle(kernel, *(torch.tensor(v, dtype=F) for v in parts)))


@pytest.mark.parametrize("end", [0.0, 0.01])
@pytest.mark.parametrize("schedule", [VPLinear(), VPLinear(0.1, 8.0)], ids=repr)
def test_the_round_trip_is_of_order_one(schedule, end):
    model, layout = mixture(schedule), Layout.dense(7, (), dtype=F)
    x = torch.tensor([-1.4, -1, -0.7, 0.5, 0.8, 1.0, 1.6], dtype=F)
    errors, steps = [], (100, 200, 400)
    for n in steps:
        grid = grids.custom((1 - (1 - end) * torch.linspace(0, 1, n + 1, dtype=F)) ** 2)
        start = Start(invert(Diffusion(model, layout, SILENT), x, grid), corrupt=False)
        noise = NoiseSource(0, range(7))
        *_, last = DDIM()(
            Diffusion(model, layout, noise), start.state(model.kernel, layout, noise), grid
        )
        errors.append(float((last.x - x).abs().max()))
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("eps", [1e-3, 1e-5])
def test_map_of_the_probability_flow_ode(eps):
    # data N(0, 0.25): x(1) = x(eps) sqrt(v_1 / v_eps), both ways
    schedule = VPLinear()
    model = PointEstimate(GaussianOracle(GaussianKernel(Euclidean(), schedule), 0.0, 0.25))
    layout = Layout.dense(3, (), dtype=F)
    v = [0.25 * schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2 for t in (1.0, eps)]
    x = torch.tensor([-0.7, 0.2, 1.1], dtype=F)
    far = x * math.sqrt(v[0] / v[1])
    noise = NoiseSource(0, range(3))
    *_, last = AdaptiveODE(1e-8, 1e-8)(
        Diffusion(model, layout, noise), far, grids.custom([1.0, eps])
    )
    torch.testing.assert_close(last.x, x, rtol=0, atol=1e-6)
    # inversion is of first order: one more setting, with its error halved by twice the steps
    gaps = []
    for n in (400, 800):
        times = torch.linspace(1, math.sqrt(eps), n + 1, dtype=F) ** 2
        gaps.append(
            float(
                (invert(Diffusion(model, layout, SILENT), x, grids.custom(times)) - far).abs().max()
            )
        )
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.1)


def test_inversion_to_pure_noise():
    # flow matching: alpha(1) = 0, and the map is x_1 = (x_0 - mean) / std
    model = PointEstimate(GaussianOracle(GaussianKernel(Euclidean(), Linear()), 0.3, 0.25))
    x = torch.tensor([-0.7, 0.2, 1.1], dtype=F)
    code = invert(
        Diffusion(model, Layout.dense(3, (), dtype=F), SILENT), x, grids.uniform(model.kernel, 2000)
    )
    torch.testing.assert_close(code, (x - 0.3) / 0.5, rtol=0, atol=5e-3)


def test_slerp_by_hand():
    layout = Layout.dense(2, (2,), dtype=F)
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=F)
    b = torch.tensor([[0.0, 1.0], [0.0, 2.0]], dtype=F)
    weights = [0.0, 1 / 3, 0.5, 1.0, 1.5]
    states = slerp(a, b, weights, layout)
    for w, state in zip(weights, states, strict=True):
        # a right angle in the first sample, none in the second: each has its own
        exact = [math.cos(w * math.pi / 2), math.sin(w * math.pi / 2)]
        torch.testing.assert_close(state[0], torch.tensor(exact, dtype=F))
        torch.testing.assert_close(state[1], a[1])
    single = slerp(a.float(), b.float(), [0.5], layout)
    assert single[0].dtype == torch.float32


def test_slerp_of_nearly_equal_states_and_of_ragged_ones():
    layout = Layout.ragged([1, 3], (2,), dtype=F)
    noise = NoiseSource(0, range(2))
    a, b = noise.normal(layout), noise.normal(layout)
    near = a + 1e-9 * b
    torch.testing.assert_close(slerp(a, near, [0.25], layout)[0], a, rtol=0, atol=1e-8)
    middle = slerp(a, b, [0.3], layout)[0]
    for rows in (slice(0, 1), slice(1, 4)):
        part = Layout.dense(1, tuple(a[rows].shape), dtype=F)
        alone = slerp(a[rows][None], b[rows][None], [0.3], part)[0]
        torch.testing.assert_close(middle[rows], alone[0])


def test_misfits():
    layout = Layout.dense(2, (2,), dtype=F)
    a = torch.ones(2, 2, dtype=F)
    for other, weights in ((torch.ones(2, 3, dtype=F), [0.5]), (a, []), (a, [math.nan])):
        with pytest.raises(InputError):
            slerp(a, other, weights, layout)
    tokens = PmfOracle(CategoricalKernel(Tokens(3), Absorbing(2)), torch.tensor([0.4, 0.6]))
    with pytest.raises(IncompatibleSampler):
        invert(Diffusion(tokens, layout, SILENT), a, torch.tensor([1.0, 0.0], dtype=F))
