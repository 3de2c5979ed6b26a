"""Grids by name, and grids fitted to a denoiser."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from unnoise.denoise import Clean, NetworkDenoiser
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
from unnoise.samplers import (
    Ancestral,
    Custom,
    Diffusion,
    DPMSolverPP,
    Fitted,
    UniPC,
    grids,
    optimised,
    time_at,
)
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
            grid = grids.NAMED[name].times(kernel(schedule), steps, start)
            assert grid.dtype == F
            assert len(grid) == steps + 1
            assert (float(grid[0]), float(grid[-1])) == (start, 0.0)
            assert bool((grid.diff() < 0).all())
            if schedule.steps:
                torch.testing.assert_close(grid * 1000, (grid * 1000).round(), rtol=0, atol=1e-9)
    for steps, start in ((0, 1.0), (-1, 1.0), (10**6, 1.0), (5, 0.0), (5, 1.2)):
        with pytest.raises(InputError):
            grids.NAMED[name].times(kernel(schedule), steps, start)


def test_what_the_names_say():
    vp = kernel(VPLinear())
    assert grids.quadratic(vp, 4).tolist() == [1, 9 / 16, 4 / 16, 1 / 16, 0]
    line = grids.linspace(vp, 4).tolist()
    assert line == pytest.approx([1, 0.667, 0.334, 0.001, 0])
    levels = np.log([rho(vp.schedule, t) for t in grids.log_snr(vp, 6).tolist()[:-1]])
    assert np.diff(levels) == pytest.approx([np.diff(levels)[0]] * 5)
    assert levels[-1] == pytest.approx(math.log(0.002))
    last = grids.LogSNR(rho_min=0.05).times(vp, 6)[-2]
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
    for name in ("karras", "log-snr"):
        with pytest.raises(IncompatibleSampler, match="GaussianKernel"):
            grids.NAMED[name].times(tokens, 5)
    with pytest.raises(InputError, match="10 steps"):
        grids.karras(kernel(BetaTable.linear(10)), 11)
    with pytest.raises(InputError, match="noise level"):
        grids.Karras(rho_min=1e9).times(kernel(VPLinear()), 5)


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
    fitted = optimised(fit, 6, refinements=10)
    assert json.loads(json.dumps(fitted.values)) == list(fitted.values)
    times = fitted.times(model.kernel)
    assert (times[0], times[-1], len(times)) == (1.0, 0.0, 7)
    named = [distance(model, UniPC(), make(model.kernel, 6, 1.0)) for make in grids.NAMED.values()]
    assert distance(model, UniPC(), times) < factor * min(named)


def test_dynamic_programming_alone():
    model = mixture(VPLinear())
    fit = Diffusion(model, Layout.dense(128, (), dtype=F), NoiseSource(1, range(128)))
    times = optimised(fit, 8, sampler=DPMSolverPP(), refinements=0, candidates=32)
    named = [
        distance(model, DPMSolverPP(), grid.times(model.kernel, 8)) for grid in grids.NAMED.values()
    ]
    assert distance(model, DPMSolverPP(), times.times(model.kernel)) < 1.1 * min(named)
    assert optimised(fit, 1).values == (1.0, 0.0)


def test_what_cannot_be_fitted():
    model = mixture(VPLinear())
    fit = Diffusion(model, Layout.dense(4, (), dtype=F), NoiseSource(1, range(4)))
    with pytest.raises(ConfigError, match="deterministic"):
        optimised(fit, 4, sampler=Ancestral())
    with pytest.raises(InputError, match="out of range"):
        optimised(fit, 0)
    with pytest.raises(InputError, match="out of range"):
        optimised(fit, 48)


def test_a_name_is_found_in_any_spelling():
    for name in ("log-snr", "log_snr", "Log.SNR"):
        assert grids.named(name) is grids.NAMED["log-snr"]
    with pytest.raises(InputError, match="did you mean 'karras'"):
        grids.named("karas")


def test_grids_are_values():
    assert grids.Karras(5.0) == grids.Karras(5.0) != grids.Karras()
    assert hash(Custom([1.0, 0.5, 0.0])) == hash(Custom((1.0, 0.5, 0.0)))
    with pytest.raises(ConfigError):
        grids.Karras(power=0.0)
    for times in ([0.5], [0.5, 0.7], [1.5, 0.0], [1.0, -0.1]):
        with pytest.raises(InputError):
            Custom(times)


@pytest.mark.parametrize("grid", [Custom([1.0, 0.6, 0.2, 0.0]), Fitted((1.0, 0.6, 0.2, 0.0), "")])
def test_times_of_a_grid_are_cut_below_a_start(grid):
    vp = kernel(VPLinear())
    assert grid.steps == 3
    for start, left in ((1.0, [0.6, 0.2, 0.0]), (0.6, [0.2, 0.0]), (0.3, [0.2, 0.0]), (0.1, [0.0])):
        assert grid.times(vp, start=start).tolist() == [start, *left]
    assert torch.equal(grid.times(vp, 3), grid.times(vp))
    for steps, start in ((4, 1.0), (None, 0.0), (None, 1.5)):
        with pytest.raises(InputError):
            grid.times(vp, steps, start)
    with pytest.raises(InputError, match="begin where"):
        Custom([0.9, 0.0]).times(vp)
    with pytest.raises(InputError, match="ends before"):
        Custom([0.9, 0.5]).times(vp, start=0.4)
    with pytest.raises(InputError, match="number of steps"):
        grids.uniform.times(vp)


def test_a_fitted_grid_knows_its_denoiser():
    def network(seed):
        torch.manual_seed(seed)
        return NetworkDenoiser(torch.nn.Linear(3, 3), kernel(VPLinear()), Clean())

    own, other = network(0), network(1)
    fitted = Fitted((1.0, 0.0), grids.fingerprint(own))
    fitted.check(network(0))
    for stranger in (other, PointEstimate(own)):
        with pytest.raises(InputError, match="another denoiser"):
            fitted.check(stranger)
    Custom(fitted.values).check(other)
    model = mixture(VPLinear())
    run = Diffusion(model, Layout.dense(8, (), dtype=F), NoiseSource(0, range(8)))
    optimised(run, 3, refinements=0, candidates=8).check(model)


@pytest.mark.parametrize("schedule", [VPLinear(), VE(0.01, 5.0), Linear()], ids=repr)
def test_the_time_of_a_noise_level(schedule):
    for level in (0.05, 0.7, 4.9):
        t = time_at(kernel(schedule), level)
        assert rho(schedule, t) == pytest.approx(level, rel=1e-9)
    steps = time_at(kernel(BetaTable.linear(100)), 0.5) * 100
    assert steps == pytest.approx(round(steps), abs=1e-9)
    for level in (-1.0, 0.0, math.nan):
        with pytest.raises(InputError, match="no such noise level"):
            time_at(kernel(schedule), level)
    with pytest.raises(InputError, match="no such noise level"):
        time_at(kernel(VE(0.01, 5.0)), 6.0)
