"""The coefficients of multistep samplers, and their third-order start."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final

from torch import Tensor

from unnoise.errors import IncompatibleSampler
from unnoise.samplers.algebra import Level, Row, adams, between, schedule_of, toward, weighted
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import tensor


class Warmup(Enum):
    """How a multistep sampler takes its first steps, before it has a history.

    LOWER: each of the highest order that the history allows, one evaluation a step. The first is
    of order 1, and its error keeps the whole run at order 2.
    FULL: single steps of third order, three evaluations each, so that the run has its full order.
    """

    LOWER = "lower"
    FULL = "full"

    def check(self, steps: int) -> None:
        """Raise IncompatibleSampler where a run has too few steps to begin with single ones."""
        if self is Warmup.FULL and steps < FEWEST:
            raise IncompatibleSampler(
                "the first steps take three evaluations each, too many for so few steps",
                value=steps,
                limit=f"at least {FEWEST} steps with warmup full",
                fix="take warmup lower, or more steps",
            )


def remembered(known: Sequence[float], at: Level, keep: int) -> list[float]:
    """The lambdas of the latest predictions, that at `at` in front; what lies at lambda = -inf says
    nothing about the slope."""
    return [at.lam, *known][:keep] if math.isfinite(at.lam) else list(known)


TRUST: Final = 7.0
"""How much of the error of single predictions a step may take on, as a multiple of its own."""
FEWEST: Final = 8
"""Steps of a run that begins with steps of several evaluations."""


def check_spans(
    pairs: Iterable[tuple[Level, Level]], what: str, trust: float = TRUST, most: float = math.inf
) -> None:
    """Raise IncompatibleSampler for steps in rho, of second and higher order in eps, over which rho
    falls too far.

    Between t and s the predictions of x_0 differ by up to the spread of x_0 given x_t, about
    min(1, rho_t) of data of unit variance. In a step of Heun's kind the second one weighs
    (rho_t / rho_s - 1) / 2 against the first. rho_t / rho_s may be `trust` / min(1, rho_t), and
    `most` in any case. Steps from where nothing is seen, and those to 0, are not of this kind.
    """
    for a, b in pairs:
        limit = min(trust / min(1.0, a.rho), most)
        if not a.blind and b.sigma > 0 and a.rho / b.rho > limit:
            raise IncompatibleSampler(
                f"{what} would go astray on this grid: sigma / alpha falls too far in a step",
                value=f"from {a.rho:.3g} to {b.rho:.3g} at t = {a.t:.3g}",
                limit=f"a factor of {limit:.3g}",
                fix="take more steps, or another grid or sampler: uniform, unipc, ddim",
            )


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
