"""Grids fitted to a denoiser: dynamic programming over the errors of single steps, then refinement.

Analytic-DPM (Bao 2022) and later GITS (Chen 2024) choose the times of few steps by dynamic
programming over a matrix of costs. Here the cost of a step is its error against the exact solution,
for steps that remember their predecessor, and the result is refined against the end of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Schedule
from unnoise.noise import NoiseSource
from unnoise.samplers import grids
from unnoise.samplers.algebra import FIRST, RHO_MAX, levels, rho, schedule_of
from unnoise.samplers.base import Sampler, Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.grids import Fitted, fingerprint
from unnoise.samplers.multistep import Warmup
from unnoise.samplers.unipc import UniPC
from unnoise.spaces import tensor

Array = NDArray[np.float64]
_STARTS = 3  # grids that are refined: there are many local minima
_FINER = 6  # steps of the solution between two candidates
_SILENT = NoiseSource(0, [])  # deterministic samplers draw nothing


@torch.no_grad()
def optimised(
    run: Diffusion,
    steps: int,
    *,
    sampler: Sampler | None = None,
    candidates: int = 48,
    refinements: int = 20,
) -> Fitted:
    """The steps + 1 times with which `sampler` comes closest to the probability-flow ODE.

    1. The ODE is solved for the states of the run on many candidate times, equal steps in log SNR.
    2. Among these, dynamic programming finds the grid for which the errors of all steps, of second
       order with the prediction before, sum to the least; an error at t counts relative to the
       standard deviation of the states there.
    3. From the three best of this grid and the named ones, Gauss-Newton steps in the log SNR of the
       times lessen the root mean square distance between the sampler's results and the solution,
       which bounds the Wasserstein distance between the two distributions from above.

    Parameters
    ----------
    run : of the batch to fit on; some hundred samples are enough.
    sampler : a deterministic sampler of Gaussian kernels, UniPC() by default.
    candidates : times to choose from; the solution takes seven evaluations for each.
    refinements : rounds of step 3, each about 3 steps^2 evaluations; 0 leaves it out.

    Returns
    -------
    A grid for `generate(grid=...)`, which remembers the denoiser; its `values` serve as the "steps"
    of a bundle's defaults.

    Raises
    ------
    ConfigError : the sampler is stochastic. IncompatibleSampler : the kernel is not Gaussian.
    InputError : fewer candidates than steps.
    """
    sampler = UniPC() if sampler is None else sampler
    sampler.check(run.kernel)
    if sampler.stochastic:
        raise ConfigError("grids are fitted to deterministic samplers", value=sampler)
    if not 1 <= steps < candidates:
        raise InputError("steps is out of range", value=steps, limit=f"1 to {candidates - 1}")
    kernel, schedule = run.kernel, schedule_of(run.kernel)
    x = tensor(kernel.prior(run.layout).sample(run.noise))
    run = run.replace(noise=_SILENT)
    times, states, predictions = _solve(run, x, candidates)
    chosen = _cheapest(_costs(schedule, times, states, predictions), steps)
    if steps == 1:
        return Fitted((1.0, 0.0), fingerprint(run.denoiser))

    def miss(grid: Times) -> Array:
        end = _last(sampler, run, x, grid)
        return cast(Array, (end - states[-1]).flatten().double().cpu().numpy())

    def fitted(grid: Times) -> Tensor:
        inner = [math.log(min(rho(schedule, t), RHO_MAX)) for t in grid[:-1].tolist()]
        gaps = np.log(-np.diff(np.array(inner)).clip(-20.0, -1e-6))
        found: Any = least_squares(
            lambda gaps: miss(_of_gaps(schedule, gaps)),
            gaps.clip(-7.9, 2.9),
            diff_step=1e-3,
            max_nfev=refinements,
            bounds=(-8.0, 3.0),
        )
        return _of_gaps(schedule, found.x)

    def square(grid: Times) -> float:
        return float((miss(grid) ** 2).sum())

    known = [times[chosen], *(grid.times(kernel, steps) for grid in grids.NAMED.values())]
    known.sort(key=square)
    if refinements:
        known = [known[0], *map(fitted, known[:_STARTS])]
    return Fitted(tuple(min(known, key=square).tolist()), fingerprint(run.denoiser))


def _of_gaps(schedule: Schedule, gaps: Array) -> Tensor:
    """A grid from the logarithms of its steps in log rho; the step to 0 is not among them."""
    top = min(rho(schedule, 1.0), RHO_MAX)
    low = rho(schedule, FIRST) * (1 + 1e-6)
    down = np.cumsum(np.exp(gaps))
    limit = math.log(top / low)
    if down[-1] > limit:
        down = down * (limit / down[-1])
    return grids.from_levels(schedule, [top * math.exp(-d) for d in down])


def _last(sampler: Sampler, run: Diffusion, x: Tensor, grid: Times) -> Tensor:
    result = x
    for step in sampler(run, x, grid):
        result = tensor(step.x)
    return result


def _solve(run: Diffusion, x: Tensor, candidates: int) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Candidate times, the states there, and predictions of x_0 at all of them but 0.

    The steps are finer than the candidates: an error here would be fitted as if it were the truth.
    """
    schedule, fine = schedule_of(run.kernel), _FINER * (candidates - 1)
    top = min(rho(schedule, 1.0), RHO_MAX)
    low = max(grids.RHO_MIN, rho(schedule, FIRST))
    levels = [top * (low / top) ** (i / fine) for i in range(1, fine + 1)]
    grid = grids.from_levels(schedule, levels)
    solver = UniPC(3, warmup=Warmup.FULL)
    states, predictions = [x], []
    for i, step in enumerate(solver(run, x, grid)):
        if i % _FINER == 0:  # the prediction with which the step began
            predictions.append(tensor(run(states[-1], float(grid[i])).mean))
        if (i + 1) % _FINER == 0 or i == fine:
            states.append(tensor(step.x))
    times = torch.cat([grid[:-1:_FINER], grid[-1:]])
    return times, states, predictions


def _costs(
    schedule: Schedule, times: Tensor, states: Sequence[Tensor], predictions: Sequence[Tensor]
) -> Array:
    """(n + 1, n + 1, n + 1): the error of a step from time j to k that remembers i; i = j means
    that it remembers nothing."""
    n = len(times) - 1
    vectors = torch.stack([v.flatten().double().cpu() for v in (*states, *predictions)]).numpy()
    gram = vectors @ vectors.T / vectors.shape[1]
    spread = np.sqrt(np.diag(gram)[: n + 1])
    alpha, sigma = np.array([levels(schedule, float(t)) for t in times]).T
    with np.errstate(divide="ignore"):
        lam = np.log(alpha) - np.log(sigma)
    costs = np.full((n + 1, n + 1, n + 1), np.inf)
    for j in range(n):
        for i in range(j + 1):
            for k in range(j + 1, n + 1):
                a = sigma[k] / sigma[j]
                b, slope = alpha[k] - a * alpha[j], 0.0
                if i < j and k < n and np.isfinite(lam[i]):
                    slope = b * 0.5 * (lam[k] - lam[j]) / (lam[j] - lam[i])
                rows = [k, j, n + 1 + j, n + 1 + i]
                c = np.array([1.0, -a, -(b + slope), slope])
                square = c @ gram[np.ix_(rows, rows)] @ c
                costs[i, j, k] = math.sqrt(max(square, 0.0)) / spread[k]
    return costs


def _cheapest(costs: Array, steps: int) -> list[int]:
    """Positions of the path from 0 to the end, of `steps` steps, with the least sum of costs."""
    n = costs.shape[0] - 1
    best = np.full((n + 1, n + 1), np.inf)  # of paths that end with the step from i to j
    best[0] = costs[0, 0]
    choices = []
    for _ in range(steps - 1):
        total = best[:, :, None] + costs
        choices.append(total.argmin(0))
        best = total.min(0)
    j, k = int(best[:, n].argmin()), n
    path = [n, j]
    for choice in reversed(choices):
        j, k = int(choice[j, k]), j
        path.append(j)
    return path[::-1]
