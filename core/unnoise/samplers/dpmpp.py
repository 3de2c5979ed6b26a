"""DPM-Solver++ (Lu 2022): exponential integrators of d(x / sigma) / d lambda = e^lambda x_0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import ClassVar, final

from torch import Tensor

from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.samplers.algebra import (
    Level,
    Row,
    Spans,
    adams,
    between,
    halfway,
    once,
    schedule_of,
    spans,
    toward,
    weighted,
)
from unnoise.samplers.base import Sampler, Step, Steps, Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.multistep import Warmup, remembered, step_row, third_order, trusted
from unnoise.spaces import State, tensor


class Solver(Enum):
    """2M and 3M use the predictions of earlier steps; 2S makes a second one within each step."""

    M2 = "2M"
    S2 = "2S"
    M3 = "3M"


@final
@dataclass(frozen=True)
class DPMSolverPP(Sampler):
    """With h = lambda_s - lambda_t:

        2M: x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) (m_0 + (h / 2 h_1) (m_0 - m_1)),

    m_i the predictions of x_0 at the latest times and h_1 the step before. 2S puts the prediction
    half-way in lambda in the place of the history; 3M integrates a parabola through m_0, m_1, m_2.
    The first steps, a step from alpha = 0 and that to sigma = 0 are of lower order. 2S takes a step
    from where nothing is seen by the midpoint in alpha / sigma:

        x_s = (sigma_s / sigma_t) x_t + sigma_s (alpha_s / sigma_s - alpha_t / sigma_t) m_half.

    Parameters
    ----------
    solver : Solver.M2, S2 or M3.
    warmup : of 3M; with Warmup.FULL it takes S + 4 evaluations and has order 3.
    """

    solver: Solver = Solver.M2
    warmup: Warmup = Warmup.LOWER
    requires: ClassVar[type] = GaussianKernel

    @property
    def evaluations(self) -> int:
        return 2 if self.solver is Solver.S2 else 1

    @property
    def order(self) -> int:
        return 3 if self.solver is Solver.M3 and self.warmup is Warmup.FULL else 2

    @property
    def one_step(self) -> bool:
        return self.solver is Solver.S2

    @property
    def stochastic(self) -> bool:
        return False

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        if self.solver is Solver.M3:
            self.warmup.check(len(grid) - 1)

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        schedule = schedule_of(run.kernel)
        pairs = spans(schedule, grid)
        keep = _KEEP[self.solver]
        history: list[Tensor] = []  # other predictions
        for (a, b), (half, row) in zip(pairs, _rows(self, schedule, pairs), strict=True):
            x = tensor(x)
            law = run(x, a.t)
            x0 = tensor(law.mean)
            if row is None and math.isfinite(b.lam - a.lam):
                x = third_order(run, x, x0, a, b)
            elif row is None:
                x = toward(x, x0, a, b)
            else:
                if half is not None:
                    law = run(toward(x, x0, a, half), half.t)
                    history = [tensor(law.mean)]
                x = weighted(row, [x, x0, *history])
            history = [x0, *history][:keep]
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent


_KEEP = {Solver.M2: 1, Solver.S2: 0, Solver.M3: 2}  # predictions of earlier steps


@once
def _rows(
    sampler: DPMSolverPP, schedule: Schedule, pairs: Spans
) -> list[tuple[Level | None, Row | None]]:
    """For each step where 2S makes its other prediction, and the coefficients of x_t, of the
    prediction there and of the others; None for a step that is not of this kind."""
    keep = _KEEP[sampler.solver]
    least = keep if sampler.solver is Solver.M3 and sampler.warmup is Warmup.FULL else 0
    rows: list[tuple[Level | None, Row | None]] = []
    known: list[float] = []  # lambda of earlier predictions
    for a, b in pairs:
        half: Level | None = None
        row: Row | None = None
        if sampler.solver is Solver.S2 and a.blind and b.sigma > 0 and not b.blind:
            ratio = b.sigma / a.sigma
            half, row = halfway(schedule, a, b), (ratio, 0.0, b.alpha - ratio * a.alpha)
        elif math.isfinite(b.lam - a.lam) and len(known) >= least:
            half = between(schedule, a, b, 0.5) if sampler.solver is Solver.S2 else None
            others = known if half is None else [half.lam]
            weights = partial(_weights, a.lam, b.lam, others)
            row = step_row(a, b, trusted(weights, 1 + len(others)))
        rows.append((half, row))
        known = remembered(known, a, keep)
    return rows


def _weights(now: float, end: float, known: Sequence[float], count: int) -> list[float]:
    """Of `count` predictions: that at lambda = `now` and the first of those at `known`."""
    h, others = end - now, known[: count - 1]
    if len(others) == 2:
        return adams((-h, *(at - end for at in others)), h)
    fall = -math.expm1(-h)
    slopes = [fall * 0.5 * h / (now - at) for at in others]
    return [fall + sum(slopes), *(-w for w in slopes)]
