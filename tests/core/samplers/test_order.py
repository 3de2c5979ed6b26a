"""Orders of convergence on the probability-flow ODE: METHODS, section 0."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from unnoise.kernels import GaussianKernel, SubVP, VPLinear
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    DDIM,
    DEIS,
    EDM,
    PNDM,
    AdaptiveODE,
    Diffusion,
    DPMSolverPP,
    Euler,
    Heun,
    Pseudo,
    SASolver,
    Solver,
    UniPC,
    Warmup,
    grids,
)
from unnoise.samplers.algebra import lam, levels, time_of
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import MixtureOracle, PointEstimate

F = torch.float64
POINTS = torch.linspace(-2, 2, 9, dtype=F)[:, None]
LAYOUT = Layout.dense(9, (1,), dtype=F)
SAMPLERS = [
    (Euler(), 1),
    (DDIM(), 1),
    (Heun(), 2),
    (EDM(), 2),
    (DPMSolverPP(Solver.M2), 2),
    (DPMSolverPP(Solver.S2), 2),
    (DPMSolverPP(Solver.M3, Warmup.FULL), 3),
    (PNDM(Pseudo.F), 2),
    (PNDM(Pseudo.S), 2),
    (UniPC(2, "bh1"), 3),
    (UniPC(2, "bh2"), 3),
    (UniPC(3, warmup=Warmup.FULL), 4),
    (DEIS(2), 2),
    (DEIS(3, warmup=Warmup.FULL), 3),
    (DEIS(3, "rho", Warmup.FULL), 3),
    (DEIS(4, warmup=Warmup.FULL), 4),
    (SASolver(tau=0.0, predictor=2, corrector=0), 2),
]


@functools.cache
def problem(schedule):
    """A mixture, and the solution at t = 0.01 by DOP853."""
    mixture = ([0.5, 0.5], [-1.0, 1.0], [0.5, 0.5])
    kernel = GaussianKernel(Euclidean(), schedule)
    model = PointEstimate(MixtureOracle(kernel, *(torch.tensor(v, dtype=F) for v in mixture)))

    def slope(t, x):
        (a, s), x = levels(schedule, t), torch.tensor(x)[:, None]
        x0 = model(x, t, LAYOUT).mean
        return (schedule.d_alpha(t) * x0 + schedule.d_sigma(t) * (x - a * x0) / s)[:, 0].numpy()

    start = POINTS[:, 0].numpy()
    exact = solve_ivp(slope, (1, 0.01), start, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    return model, torch.tensor(exact)[:, None]


@functools.cache
def even(schedule, n: int) -> torch.Tensor:
    """Uniform in log SNR from 1 to 0.01."""
    ends = np.linspace(lam(schedule, 1.0), lam(schedule, 0.01), n + 1)[1:-1]
    inner = [time_of(lambda t: lam(schedule, t), v, 0.005, 1.0) for v in ends]
    return grids.custom([1.0, *inner, 0.01])


def error(sampler, schedule, grid) -> float:
    model, exact = problem(schedule)
    *_, last = sampler(Diffusion(model, LAYOUT, NoiseSource(0, range(9))), POINTS, grid)
    return float((last.x - exact).abs().max())


@pytest.mark.parametrize(("sampler", "order"), SAMPLERS, ids=repr)
def test_order(sampler, order):
    assert sampler.order == order
    steps = (160, 320, 640)
    errors = [error(sampler, VPLinear(), even(VPLinear(), n)) for n in steps]
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("sampler", "order"), SAMPLERS, ids=repr)
def test_own_setting_order_on_sub_vp(sampler, order):
    schedule = SubVP(0.1, 10.0)
    errors = [error(sampler, schedule, even(schedule, n)) for n in (80, 160)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("schedule", [VPLinear(), SubVP(0.1, 10.0)], ids=repr)
def test_the_adaptive_solver_keeps_its_tolerance(schedule):
    for tolerance in (1e-4, 1e-8):
        sampler = AdaptiveODE(tolerance, tolerance)
        assert error(sampler, schedule, grids.custom([1.0, 0.5, 0.01])) < 20 * tolerance
