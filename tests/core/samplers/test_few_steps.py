"""Few evaluations where alpha is almost 0 at t = 1: no sampler is much further off than DDIM."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from unnoise.errors import IncompatibleSampler
from unnoise.kernels import BetaTable, GaussianKernel, Geometric, VPCosine
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    DDIM,
    DEIS,
    EDM,
    PNDM,
    Diffusion,
    DPMSolverPP,
    Euler,
    Heun,
    Pseudo,
    Sampler,
    SASolver,
    Solver,
    UniPC,
    Warmup,
    grids,
)
from unnoise.samplers.algebra import levels
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle, MixtureOracle

SAMPLERS = [
    Euler(),
    Heun(),
    EDM(),
    DPMSolverPP(),
    DPMSolverPP(Solver.S2),
    DPMSolverPP(Solver.M3),
    DPMSolverPP(Solver.M3, Warmup.FULL),
    UniPC(),
    UniPC(3),
    UniPC(3, warmup=Warmup.FULL),
    DEIS(),
    DEIS(variable="rho"),
    DEIS(4, warmup=Warmup.FULL),
    PNDM(),
    PNDM(Pseudo.S),
    SASolver(0.0),
]
SCHEDULES = [VPCosine(), BetaTable.linear(), Geometric(3e-5, 0.999, 3e-5)]
LAYOUT = Layout.dense(64, (2,))


@cache
def oracle(schedule) -> MixtureOracle:
    means = torch.tensor([[-1.0, 0.5], [1.0, 1.0], [0.2, -1.0]])
    kernel = GaussianKernel(Euclidean(), schedule)
    return MixtureOracle(
        kernel, torch.tensor([0.3, 0.3, 0.4]), means, torch.tensor([0.1, 0.05, 0.2])
    )


@cache
def end(sampler: Sampler, schedule, grid: str, steps: int) -> torch.Tensor:
    noise, denoiser = NoiseSource(0, range(64)), oracle(schedule)
    x = denoiser.kernel.prior(LAYOUT).sample(noise)
    times = grids.named(grid).times(denoiser.kernel, steps)
    *_, last = sampler(Diffusion(denoiser, LAYOUT, noise), x, times)
    return last.x


@cache
def steps_of(sampler: Sampler, schedule, grid: str, evaluations: int) -> int:
    """The most steps that a sampler takes with so many evaluations."""
    kernel, layout = GaussianKernel(Euclidean(), schedule), Layout.dense(1, (1,))
    for steps in range(evaluations // sampler.evaluations + 1, 0, -1):
        run = Diffusion(GaussianOracle(kernel, 0.0, 1.0), layout, NoiseSource(0, [0]))
        times = grids.named(grid).times(kernel, steps)
        for _ in sampler(run, torch.ones(1, 1), times):
            pass
        if run.evaluations <= evaluations:
            return steps
    raise AssertionError("one step costs more")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("grid", grids.NAMED)
@pytest.mark.parametrize(
    "evaluations", [10, *(pytest.param(n, marks=pytest.mark.slow) for n in (20, 50))]
)
def test_no_sampler_is_much_further_off_than_ddim(schedule, grid, evaluations):
    fine = end(Heun(), schedule, "log-snr", 100)

    def off(sampler: Sampler) -> float:
        steps = steps_of(sampler, schedule, grid, evaluations)
        try:
            kernel = oracle(schedule).kernel
            sampler.check_grid(kernel, grids.named(grid).times(kernel, steps))
        except IncompatibleSampler:  # refused before any work
            return 0.0
        return float((end(sampler, schedule, grid, steps) - fine).norm(dim=1).mean())

    allowed = 1.5 * off(DDIM())
    far = {repr(sampler): round(off(sampler), 3) for sampler in SAMPLERS if off(sampler) > allowed}
    assert not far, allowed


@pytest.mark.parametrize("steps", [3, 7])
def test_too_few_steps_for_steps_of_several_evaluations_are_refused(steps):
    kernel = GaussianKernel(Euclidean(), VPCosine())
    few, enough = grids.uniform(kernel, steps), grids.uniform(kernel, 8)
    full = Warmup.FULL
    for sampler in (PNDM(), DPMSolverPP(Solver.M3, full), UniPC(warmup=full), DEIS(4, "t", full)):
        with pytest.raises(IncompatibleSampler, match="at least 8 steps"):
            sampler.check_grid(kernel, few)
        sampler.check_grid(kernel, enough)
    for sampler in (PNDM(Pseudo.S), DPMSolverPP(Solver.M3), UniPC(), DEIS(), DDIM()):
        sampler.check_grid(kernel, few)


@pytest.mark.parametrize(("sampler", "name"), [(EDM(), "EDM"), (Heun(), "Heun's method")])
def test_steps_over_which_the_noise_falls_too_far_are_refused(sampler, name):
    kernel = GaussianKernel(Euclidean(), VPCosine())
    EDM().check_grid(kernel, grids.karras(kernel, 18))  # Karras 2022
    sampler.check_grid(kernel, grids.karras(kernel, 30))
    sampler.check_grid(kernel, grids.uniform(kernel, 6))
    astray = [grids.karras(kernel, 6), grids.log_snr(kernel, 6), grids.linspace(kernel, 6)]
    astray += [grids.karras(kernel, 10), grids.log_snr(kernel, 10)]
    if isinstance(sampler, Heun):
        astray.append(grids.linspace(kernel, 25))
    for grid in astray:
        with pytest.raises(IncompatibleSampler, match=rf"{name} would go astray.*more steps"):
            sampler.check_grid(kernel, grid)


def test_edm_of_very_few_steps_is_refused():
    kernel = GaussianKernel(Euclidean(), VPCosine())
    with pytest.raises(IncompatibleSampler, match=r"two evaluations a step.*at least 6 steps"):
        EDM().check_grid(kernel, grids.uniform(kernel, 5))


@pytest.mark.parametrize("sampler", [EDM(), DPMSolverPP(Solver.S2)], ids=repr)
def test_a_step_from_where_nothing_is_seen_is_of_second_order(sampler):
    """One step from t = 1 of the cosine schedule: data of a Gaussian, whose flow is known."""
    kernel = GaussianKernel(Euclidean(), VPCosine())
    denoiser, layout = GaussianOracle(kernel, 0.3, 0.25), Layout.dense(1, (1,), dtype=torch.float64)
    start = torch.full((1, 1), 0.7, dtype=torch.float64)

    def scale(t: float) -> float:
        alpha, sigma = levels(kernel.schedule, t)
        return float((0.25 * alpha**2 + sigma**2) ** 0.5)

    def gap(t: float) -> float:
        run = Diffusion(denoiser, layout, NoiseSource(0, [0]))
        first, *_ = sampler(run, start, torch.tensor([1.0, t, 0.0], dtype=torch.float64))
        alpha, alpha_1 = levels(kernel.schedule, t)[0], levels(kernel.schedule, 1.0)[0]
        exact = 0.3 * alpha + scale(t) / scale(1.0) * (0.7 - 0.3 * alpha_1)
        return abs(float(first.x) - exact)

    assert gap(0.9) < gap(0.8) / 6  # twice the step, eight times the error
    assert gap(0.9) < 1e-3
