"""Grids by name, and grids fitted to a denoiser."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from unnoise.errors import ConfigError, IncompatibleSampler, InputError
from unnoise.kernels import (
    VE,
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import Ancestral, Diffusion, DPMSolverPP, UniPC, grids, optimised
from unnoise.samplers.algebra import rho
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import MixtureOracle, PointEstimate

F = torch.float64
SCHEDULES = [VPLinear(), VE(), Linear(), VPCosine(), BetaTable.linear(1000)]


def kernel(schedule):
    return GaussianKernel(Euclidean(), schedule)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", sorted(grids.NAMED))
def test_every_grid_decreases_from_its_start_to_zero(name, schedule):
    for steps in (1, 2, 7, 50):
        for start in (1.0, 0.4):
            grid = grids.NAMED[name](kernel(schedule), steps, start)
            assert grid.dtype == F
            assert len(grid) == steps + 1
            assert (float(grid[0]), float(grid[-1])) == (start, 0.0)
            assert bool((grid.diff() < 0).all())
            if schedule.steps:
                torch.testing.assert_close(grid * 1000, (grid * 1000).round(), rtol=0, atol=1e-9)
    for steps, start in ((0, 1.0), (-1, 1.0), (10**6, 1.0), (5, 0.0), (5, 1.2)):
        with pytest.raises(InputError):
            grids.NAMED[name](kernel(schedule), steps, start)


def test_what_the_names_say():
    vp = kernel(VPLinear())
    assert grids.quadratic(vp, 4).tolist() == [1, 9 / 16, 4 / 16, 1 / 16, 0]
    line = grids.linspace(vp, 4).tolist()
    assert line == pytest.approx([1, 0.667, 0.334, 0.001, 0])
    levels = np.log([rho(vp.schedule, t) for t in grids.log_snr(vp, 6).tolist()[:-1]])
    assert np.diff(levels) == pytest.approx([np.diff(levels)[0]] * 5)
    assert levels[-1] == pytest.approx(math.log(0.002))
    last = grids.log_snr(vp, 6, rho_min=0.05)[-2]
    assert rho(vp.schedule, float(last)) == pytest.approx(0.05)


def test_karras_by_hand():
    # Karras 2022, eq. 5, for sigma from 80 to 0.002: a VE process with these ends
    ve = kernel(VE(0.002, 80.0))
    found = [rho(ve.schedule, t) for t in grids.karras(ve, 5).tolist()[:-1]]
    exact = [(80 ** (1 / 7) + i / 4 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(5)]
    assert found == pytest.approx(exact, rel=1e-3)  # time 1e-5 stands for 0+


def test_grids_that_do_not_fit():
    tokens = CategoricalKernel(Tokens(3), Absorbing(2))
    assert len(grids.quadratic(tokens, 5)) == 6
    for name in ("karras", "log_snr"):
        with pytest.raises(IncompatibleSampler, match="GaussianKernel"):
            grids.NAMED[name](tokens, 5, 1.0)
    with pytest.raises(InputError, match="10 steps"):
        grids.karras(kernel(BetaTable.linear(10)), 11)
    with pytest.raises(InputError, match="noise level"):
        grids.karras(kernel(VPLinear()), 5, rho_min=1e9)


WEIGHTS, MEANS, STDS = np.array([0.3, 0.7]), np.array([-1.0, 0.8]), np.array([0.2, 0.4])


def mixture(schedule):
    parts = (torch.tensor(v, dtype=F) for v in (WEIGHTS, MEANS, STDS))
    return PointEstimate(MixtureOracle(kernel(schedule), *parts))


def distance(model, sampler, grid) -> float:
    """W2 to the data for x_1 at evenly spaced probabilities: no sampling error."""
    n = 2000
    u = torch.tensor((np.arange(n) + 0.5) / n)
    x = torch.from_numpy(ndtri(u.numpy())) * model.kernel.schedule.sigma(1.0)
    *_, last = sampler(
        Diffusion(model, Layout.dense(n, (), dtype=F), NoiseSource(0, range(n))), x, grid
    )
    points = np.linspace(-3, 3, 20_001)
    from scipy.stats import norm

    cdf = (WEIGHTS * norm.cdf((points[:, None] - MEANS) / STDS)).sum(1)
    quantiles = np.interp(u.numpy(), cdf, points)
    return float(np.sqrt(((np.sort(last.x.numpy()) - quantiles) ** 2).mean()))


@pytest.mark.parametrize(("schedule", "factor"), [(VPLinear(), 0.5), (Linear(), 0.7)], ids=repr)
def test_an_optimised_grid_halves_the_distance(schedule, factor):
    model = mixture(schedule)
    fit = Diffusion(model, Layout.dense(128, (), dtype=F), NoiseSource(1, range(128)))
    times = optimised(fit, 6, refinements=10)
    assert json.loads(json.dumps(times)) == times
    assert (times[0], times[-1], len(times)) == (1.0, 0.0, 7)
    named = [distance(model, UniPC(), make(model.kernel, 6, 1.0)) for make in grids.NAMED.values()]
    assert distance(model, UniPC(), grids.custom(times)) < factor * min(named)


def test_dynamic_programming_alone():
    model = mixture(VPLinear())
    fit = Diffusion(model, Layout.dense(128, (), dtype=F), NoiseSource(1, range(128)))
    times = optimised(fit, 8, sampler=DPMSolverPP(), refinements=0, candidates=32)
    named = [
        distance(model, DPMSolverPP(), make(model.kernel, 8, 1.0)) for make in grids.NAMED.values()
    ]
    assert distance(model, DPMSolverPP(), grids.custom(times)) < 1.1 * min(named)
    assert optimised(fit, 1) == [1.0, 0.0]


def test_what_cannot_be_fitted():
    model = mixture(VPLinear())
    fit = Diffusion(model, Layout.dense(4, (), dtype=F), NoiseSource(1, range(4)))
    with pytest.raises(ConfigError, match="deterministic"):
        optimised(fit, 4, sampler=Ancestral())
    with pytest.raises(InputError, match="out of range"):
        optimised(fit, 0)
    with pytest.raises(InputError, match="out of range"):
        optimised(fit, 48)


def test_a_request_names_its_grid():
    from types import SimpleNamespace

    from unnoise.engine.request import chosen_grid
    from unnoise.engine.run import _with_defaults

    vp = kernel(VPLinear())
    assert torch.equal(chosen_grid(vp, 5, 1.0), grids.uniform(vp, 5))
    assert torch.equal(chosen_grid(vp, 5, 0.5, "karras"), grids.karras(vp, 5, 0.5))
    assert chosen_grid(vp, [1.0, 0.2, 0.0], 1.0).tolist() == [1.0, 0.2, 0.0]
    with pytest.raises(InputError, match="did you mean 'karras'"):
        chosen_grid(vp, 5, 1.0, "karas")
    with pytest.raises(InputError, match="list of times"):
        chosen_grid(vp, [1.0, 0.0], 1.0, "karras")
    for times, start in (([0.9, 0.0], 1.0), ([1.0, 0.5, 0.7], 1.0), ([1.0, 0.0], 0.5)):
        with pytest.raises(InputError):
            chosen_grid(vp, times, start)

    fitted = SimpleNamespace(defaults={"steps": [1.0, 0.6, 0.2, 0.0]})
    assert _with_defaults(fitted, None, None, 1.0) == ([1.0, 0.6, 0.2, 0.0], None)
    assert _with_defaults(fitted, None, None, 0.4) == ([0.4, 0.2, 0.0], None)
    assert _with_defaults(fitted, None, "karras", 1.0) == (3, "karras")
    assert _with_defaults(fitted, 9, None, 1.0) == (9, None)
    named = SimpleNamespace(defaults={"steps": 20, "grid": "log_snr"})
    assert _with_defaults(named, None, None, 1.0) == (20, "log_snr")
    assert _with_defaults(named, 7, None, 1.0) == (7, "log_snr")
    assert _with_defaults(named, 7, "uniform", 1.0) == (7, "uniform")
    assert _with_defaults(named, [1.0, 0.0], None, 1.0) == ([1.0, 0.0], None)
