"""The history of multistep samplers, and their third-order start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.samplers.algebra import Level, adams, between, schedule_of, toward, weighted
from unnoise.spaces import Layout, tensor


class Warmup(Enum):
    """How a multistep sampler takes its first steps, before it has a history.

    LOWER: each of the highest order that the history allows, one evaluation a step. The first is
    of order 1, and its error keeps the whole run at order 2.
    FULL: single steps of third order, three evaluations each, so that the run has its full order.
    """

    LOWER = "lower"
    FULL = "full"


History = list[tuple[float, Tensor]]
"""(lambda_i, x_0 predicted there), the latest first."""


def nodes(history: Sequence[tuple[float, Tensor]], end: float) -> list[float]:
    """lambda_i - `end`."""
    return [at - end for at, _ in history]


def remember(history: History, at: float, x0: Tensor, keep: int) -> None:
    """Put a prediction in front; what lies at lambda = -inf says nothing about the slope."""
    if math.isfinite(at):
        history.insert(0, (at, x0))
        del history[keep:]


def third_order(
    denoiser: Denoiser,
    x: Tensor,
    x0: Tensor,
    a: Level,
    b: Level,
    layout: Layout,
    condition: Condition,
) -> Tensor:
    """One step of DPM-Solver++ 3S: x_s from the prediction x_0 at t and two between, at a third and
    two thirds of the way in lambda (Lu 2022, with predictions of x_0). lambda is finite at both."""
    schedule = schedule_of(denoiser)
    third, late = (between(schedule, a, b, f) for f in (1 / 3, 2 / 3))
    state, known = toward(x, x0, a, third), third
    for at in (late, b):
        other = tensor(denoiser(state, known.t, layout, condition).mean)
        # along a line through the prediction at t and the latest one
        h = at.lam - a.lam
        w = adams((-h, known.lam - at.lam), h)
        state = weighted((at.sigma / a.sigma, at.alpha * w[0], at.alpha * w[1]), (x, x0, other))
        known = at
    return state
