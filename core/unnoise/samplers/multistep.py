"""The coefficients of multistep samplers, and their third-order start."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from torch import Tensor

from unnoise.samplers.algebra import Level, Row, adams, between, schedule_of, toward, weighted
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import tensor


class Warmup(Enum):
    """How a multistep sampler takes its first steps, before it has a history.

    LOWER: each of the highest order that the history allows, one evaluation a step. The first is
    of order 1, and its error keeps the whole run at order 2.
    FULL: single steps of third order, three evaluations each, so that the run has its full order;
    fewer than 8 steps in all are too few to pay for that and begin as with LOWER.
    """

    LOWER = "lower"
    FULL = "full"

    def single(self, steps: int) -> bool:
        """Whether a run of so many steps begins with single steps."""
        return self is Warmup.FULL and steps >= 8


def remembered(known: Sequence[float], at: Level, keep: int) -> list[float]:
    """The lambdas of the latest predictions, that at `at` in front; what lies at lambda = -inf says
    nothing about the slope."""
    return [at.lam, *known][:keep] if math.isfinite(at.lam) else list(known)


TRUST: Final = 7.0
"""How much of the error of single predictions a step may take on, as a multiple of its own."""


def trusted(weights: Callable[[int], list[float]], count: int) -> list[float]:
    """Those of the most recent predictions, at most `count`, that a step may rest on.

    A polynomial through past predictions is taken beyond them. Where the step is many times as long
    as the way behind it (the last one of `linspace`), the weights w are large and cancel, and the
    errors of the predictions grow by sum |w_i| / |sum w_i|: on equal steps 3.7 for three of them,
    6.7 for four. Above TRUST an earlier prediction is left out.
    """
    for n in range(count, 1, -1):
        found = weights(n)
        if sum(map(abs, found)) <= TRUST * abs(sum(found)):
            return found
    return weights(1)


def step_row(a: Level, b: Level, weights: Sequence[float], decay: float = 1.0) -> Row:
    """x_s = decay (sigma_s / sigma_t) x_t + alpha_s sum_i weights_i x_0(i)."""
    return (decay * b.sigma / a.sigma, *(b.alpha * w for w in weights))


def third_order(run: Diffusion, x: Tensor, x0: Tensor, a: Level, b: Level) -> Tensor:
    """One step of DPM-Solver++ 3S: x_s from the prediction x_0 at t and two between, at a third and
    two thirds of the way in lambda (Lu 2022, with predictions of x_0). lambda is finite at both."""
    schedule = schedule_of(run.kernel)
    third, late = (between(schedule, a, b, f) for f in (1 / 3, 2 / 3))
    state, known = toward(x, x0, a, third), third
    for at in (late, b):
        other = tensor(run(state, known.t).mean)
        # along a line through the prediction at t and the latest one
        h = at.lam - a.lam
        w = adams((-h, known.lam - at.lam), h)
        state = weighted((at.sigma / a.sigma, at.alpha * w[0], at.alpha * w[1]), (x, x0, other))
        known = at
    return state
