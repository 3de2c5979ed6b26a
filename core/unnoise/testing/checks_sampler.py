"""What a `Sampler` is checked for, on denoisers that know the data's law exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from unnoise.distributions import Distribution
from unnoise.errors import IncompatibleSampler, UnnoiseError
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, Sampler, grids
from unnoise.spaces import Layout, State, tensor
from unnoise.testing.checks_run import (
    condition_is_passed_on,
    known_data_are_reached,
    nothing_else_changes,
    padding_is_ignored,
    ragged_batches,
    run_counts_and_draws,
    sent_states_are_used,
)
from unnoise.testing.ode_problem import even_grid, ode_problem, start_points
from unnoise.testing.oracles import PmfOracle
from unnoise.testing.report import CheckFailed, Skip, require, within
from unnoise.testing.sampler_case import (
    MEAN,
    PMF,
    STD,
    SamplerCase,
    called,
    distance,
    exact_denoisers,
    fits,
    point,
    row,
    watched,
)
from unnoise.testing.statistics import hoeffding

_DRAWS: Final = 2048  # fewer of samplers that evaluate often: tolerances follow
_FEWEST: Final = 256
_STEPS: Final = 64  # of the runs that recover a law: their error of discretisation is allowed


def recovers_the_data(case: SamplerCase) -> str:
    """With the exact denoiser, 64 steps from the prior give the law of the data: the mean and
    variance of a Gaussian, the joint probabilities of two tokens."""
    if case.given is not None:
        raise Skip("the law behind `denoiser` is not known to the kit")
    said = ""
    for denoiser in case.denoisers:
        draws = max(_FEWEST, 2 * _DRAWS // max(2, case.sampler.evaluations))
        x = tensor(case.run(denoiser, draws, steps=_STEPS))
        if isinstance(denoiser, PmfOracle):
            pairs = torch.bincount(x[:, 0] * 4 + x[:, 1], minlength=16).double() / len(x)
            exact = torch.nn.functional.pad(PMF.double(), (0, 1, 0, 1)).flatten()
            error = float((pairs - exact).abs().max())
            said = within(error, hoeffding(len(x), 16) + 0.01, "error of joint probabilities")
        else:
            z = (x - MEAN) / STD
            mean = abs(float(z.mean()))
            require(mean <= 0.06 + 7 / math.sqrt(z.numel()), f"the mean is off by {mean:.3g} std")
            variance = abs(float(z.square().mean()) - 1)
            said = within(variance, 0.12 + 7 * math.sqrt(2 / z.numel()), "error of the variance")
    return said


def order_of_convergence(case: SamplerCase) -> str:
    """The error on the probability-flow ODE of a mixture, in 80 to 320 steps, falls with at least
    the declared order (within 0.3)."""
    sampler = deterministic(case.sampler)
    model, exact = ode_problem()
    if not fits(sampler, model):
        raise Skip("the order is measured on a GaussianKernel, with a denoiser that is a law alone")
    if sampler.evaluations == 0:
        raise Skip("it chooses its own steps")
    counts, errors = (80, 160, 320), []
    start = start_points()
    layout = Layout.dense(len(start), (1,), dtype=torch.float64)
    for n in counts:
        noise = NoiseSource(case.seed, range(len(start)))
        with torch.no_grad():
            *_, last = sampler(Diffusion(model, layout, noise), start, even_grid(n))
        errors.append(float((tensor(last.x) - exact).abs().max()))
    require(all(math.isfinite(e) and e > 0 for e in errors), f"errors {errors}")
    slope = -float(np.polyfit(np.log(counts), np.log(errors), 1)[0])
    require(
        slope >= sampler.order - 0.3,
        f"it declares order {sampler.order}, the error falls with order {slope:.2f}: "
        + ", ".join(f"{e:.2g}" for e in errors),
    )
    return f"order {slope:.2f}, declared {sampler.order}"


def deterministic(sampler: Sampler) -> Sampler:
    """The sampler, or the one of its settings that draws no noise: a number that is 0 there, or a
    flag that is off."""
    if not sampler.stochastic:
        return sampler
    for name, value in _settings(sampler):
        with suppress(UnnoiseError, TypeError, ValueError):
            quiet = _changed(sampler, name, type(value)(0))
            if not quiet.stochastic:
                return quiet
    raise Skip("the order is that of deterministic runs, and no setting of it is one")


def _settings(sampler: Any) -> list[tuple[str, Any]]:
    """Numbers and flags of a dataclass that are not 0, by name."""
    named = [f.name for f in fields(sampler) if f.init] if is_dataclass(sampler) else []
    found = [(name, getattr(sampler, name)) for name in named]
    return [(n, v) for n, v in found if isinstance(v, (bool, int, float)) and v]


def _changed(sampler: Any, name: str, value: object) -> Sampler:
    found: Sampler = replace(sampler, **{name: value})
    return found


def interleaved_runs(case: SamplerCase) -> str | None:
    """Two runs whose steps alternate give what they give one after the other, to the bit."""
    for denoiser in case.denoisers:
        denoiser = point(denoiser)
        with torch.no_grad():
            serial = [[s.x for s in case.steps(denoiser, 3, first=k, seed=k)] for k in (5, 50)]
            runs = [case.steps(denoiser, 3, first=k, seed=k) for k in (5, 50)]
            both: list[list[State]] = [[], []]
            for one, two in zip(*runs, strict=True):
                both[0].append(one.x)
                both[1].append(two.x)
        for alone, mixed in zip(serial, both, strict=True):
            worst = max(distance(a, b) for a, b in zip(alone, mixed, strict=True))
            require(worst == 0, f"interleaved runs differ from serial ones by {worst:.3g}")
    return None


def incompatible_kernels_are_refused(case: SamplerCase) -> str:
    """A kernel that is not the one it `requires`, and a denoiser that is not of its kind, raise
    IncompatibleSampler before a step."""
    refused = []
    for denoiser in exact_denoisers():
        if fits(case.sampler, denoiser):
            continue
        n = SamplerCase(case.sampler, None, None, case.seed)
        try:
            with suppress(StopIteration):
                next(iter(n.steps(denoiser, 2)))
        except IncompatibleSampler:
            refused.append(called(denoiser))
            continue
        raise CheckFailed(f"it runs on a {called(denoiser)}, which is not what it requires")
    if not refused:
        raise Skip("it requires no kernel and no denoiser of a kind")
    return f"refused: {', '.join(refused)}"


def a_step_per_interval(case: SamplerCase) -> str | None:
    """One Step for each interval of the grid, with its time, a valid state and a law of x_0. A
    sampler that decides for itself how much it does (`evaluations` is 0) may go back and take
    more."""
    for denoiser in case.denoisers:
        layout = case.batch(denoiser, 3)
        kernel = denoiser.kernel
        grid = grids.uniform(kernel, min(8, kernel.steps or 8)).tolist()
        times = []
        with torch.no_grad():
            for step in case.steps(denoiser, 3):
                times.append(step.t)
                kernel.space.validate(step.x, layout)
                require(isinstance(step.x0, Distribution), f"x0 is a {type(step.x0).__name__}")
        rest = iter(times)  # looking for one time after the other in it
        among = case.sampler.evaluations == 0 and times[-1:] == grid[-1:]
        good = times == grid[1:] or (among and all(t in rest for t in grid[1:]))
        require(good, f"times {times}, not {grid[1:]}")
    return None


def noise_as_declared(case: SamplerCase) -> str:
    """`stochastic` says whether the result depends on the noise."""
    for denoiser in case.denoisers:
        denoiser = point(denoiser)
        a, b = (case.run(denoiser, 16, seed=seed) for seed in (11, 12))
        differs = distance(a, b) > 0
        says = "draws noise" if case.sampler.stochastic else "draws none"
        require(
            differs == case.sampler.stochastic,
            f"it says that it {says}, and runs with two seeds are "
            f"{'different' if differs else 'the same'}",
        )
    return f"stochastic: {case.sampler.stochastic}"


def samples_do_not_depend_on_the_batch(case: SamplerCase) -> str:
    """Sample 3 of a batch of 5 is sample 3 alone."""
    worst = 0.0
    for denoiser in case.denoisers:
        denoiser = point(denoiser)
        together = case.run(denoiser, 5)
        alone = case.run(denoiser, 1, first=3)
        worst = max(worst, distance(row(together, 3), row(alone, 0)))
    return within(worst, 1e-9, "difference to the sample alone")


def evaluations_as_declared(case: SamplerCase) -> str:
    """16 steps more cost 16 times `evaluations` calls of the denoiser more."""
    declared = case.sampler.evaluations
    if declared == 0:
        raise Skip("it decides for itself")
    for denoiser in case.denoisers:
        calls = []
        for steps in (16, 32):
            counted, seen = watched(point(denoiser))
            case.run(counted, 2, steps=steps)
            calls.append(seen.calls)
        more = calls[1] - calls[0]
        require(more == 16 * declared, f"16 steps cost {more} calls, declared: {16 * declared}")
    return f"{declared} per step"


def runs_are_differentiable(case: SamplerCase) -> str | None:
    """Gradients go through a run of real states: `no_grad` belongs to the caller."""
    for denoiser in case.denoisers:
        if not isinstance(denoiser.kernel, GaussianKernel):
            continue
        layout = case.batch(denoiser, 2)
        prior = denoiser.kernel.prior(layout).sample(NoiseSource(case.seed, range(2)))
        x = tensor(prior).clone().requires_grad_()
        *_, last = case.steps(point(denoiser), 2, steps=4, x=x)
        end = tensor(last.x)
        require(end.requires_grad, "the final state has no gradient")
        (slope,) = torch.autograd.grad(end.sum(), x)
        good = bool(torch.isfinite(slope).all()) and float(slope.abs().max()) > 0
        require(good, f"the gradient is {slope.flatten().tolist()[:3]}")
        return None
    raise Skip("tokens have no gradient")


CHECKS: Final[tuple[Callable[[SamplerCase], str | None], ...]] = (
    recovers_the_data,
    order_of_convergence,
    interleaved_runs,
    incompatible_kernels_are_refused,
    a_step_per_interval,
    known_data_are_reached,
    sent_states_are_used,
    condition_is_passed_on,
    noise_as_declared,
    run_counts_and_draws,
    samples_do_not_depend_on_the_batch,
    padding_is_ignored,
    ragged_batches,
    evaluations_as_declared,
    nothing_else_changes,
    runs_are_differentiable,
)
