"""PNDM (Liu 2022): multistep coefficients in t with DDIM's step as the transfer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import ClassVar, final

from torch import Tensor

from unnoise.errors import IncompatibleSampler
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.samplers.algebra import (
    Level,
    Row,
    Spans,
    interpolated,
    level,
    noise_in,
    once,
    schedule_of,
    spans,
    toward,
    transfer,
    weighted,
)
from unnoise.samplers.base import Sampler, Step, Steps, Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.multistep import FEWEST, check_spans, trusted
from unnoise.spaces import State, tensor


class Pseudo(Enum):
    """F-PNDM: three steps of Runge-Kutta 4, then Adams-Bashforth 4. S-PNDM: one improved-Euler
    step, then Adams-Bashforth 2."""

    F = "F"
    S = "S"


@final
@dataclass(frozen=True)
class PNDM(Sampler):
    """x_s = phi(x_t, e', t, s), phi the DDIM step along e', e' a combination of predictions:

        F: (55 e_0 - 59 e_1 + 37 e_2 - 9 e_3) / 24,    S: (3 e_0 - e_1) / 2.

    Those are the coefficients of equal steps, Adams' and Bashforth's. On other grids e' is the mean
    over [s, t] of the polynomial in t through the same predictions: with the fixed ones a run would
    be of order 1 there.

    S steps cost 4 min(S, 3) + max(S - 3, 0) evaluations, so S + 9, and S + 1. A start that would
    end at sigma = 0, where eps is not defined, or begin where alpha is almost 0 and phi is not, is
    one DDIM step instead, which adds an evaluation at most.
    """

    method: Pseudo = Pseudo.F
    requires: ClassVar[type] = GaussianKernel
    order: ClassVar[int] = 2
    one_step: ClassVar[bool] = False

    @property
    def stochastic(self) -> bool:
        return False

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        steps, pairs = len(grid) - 1, spans(schedule_of(kernel), grid)
        if self.method is Pseudo.F and steps < FEWEST:
            raise IncompatibleSampler(
                "the first steps of F-PNDM take four evaluations each, too many for so few steps",
                value=steps,
                limit=f"at least {FEWEST} steps",
                fix="take method S, or another sampler: unipc, ddim",
            )
        seen = [pair for pair in pairs if not pair[0].blind]
        check_spans(seen[: _PREDICTIONS[self.method] - 1], "PNDM")

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        schedule = schedule_of(run.kernel)
        pairs = spans(schedule, grid)
        keep = _PREDICTIONS[self.method]
        history: list[Tensor] = []  # eps as predicted, the latest first
        for (a, b), row in zip(pairs, _rows(self.method, schedule, pairs), strict=True):
            x = tensor(x)
            law = run(x, a.t)
            if not a.blind:
                history = [noise_in(x, law, a), *history][:keep]
            if row is not None:
                x = weighted(row, [x, *history])
            elif a.blind or b.sigma <= 0:
                x = toward(x, tensor(law.mean), a, b)
            else:
                x = self._start(run, x, history[0], a, b)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent

    def _start(self, run: Diffusion, x: Tensor, first: Tensor, a: Level, b: Level) -> Tensor:
        """One single step with the slopes of a Runge-Kutta method."""
        half = level(schedule_of(run.kernel), 0.5 * (a.t + b.t))
        stages = [half, half, b] if self.method is Pseudo.F else [b]
        slopes = [first]
        for at in stages:
            ahead = transfer(x, slopes[-1], a, at)
            law = run(ahead, at.t)
            slopes.append(noise_in(ahead, law, at))
        return weighted(_row(_STAGES[self.method], a, b), [x, *slopes])


@once
def _rows(method: Pseudo, _: Schedule, pairs: Spans) -> list[Row | None]:
    """The coefficients of x_t and of the latest eps; None at the start."""
    count, seen = _PREDICTIONS[method], list[float]()
    rows: list[Row | None] = []
    for a, b in pairs:
        if not a.blind:
            seen = [a.t, *seen][:count]
        ready = len(seen) == count
        rows.append(_row(trusted(partial(_weights, b.t, seen), count), a, b) if ready else None)
    return rows


def _weights(end: float, times: Sequence[float], count: int) -> list[float]:
    """Of the latest `count` predictions, made at `times`: the mean of their polynomial from the
    latest to `end`."""
    nodes = [t - end for t in times[:count]]
    return interpolated(nodes, [nodes[0] ** k / (k + 1) for k in range(count)])


def _row(weights: Sequence[float], a: Level, b: Level) -> Row:
    """phi along the sum of the weighted eps."""
    ratio = b.alpha / a.alpha
    return (ratio, *((b.sigma - ratio * a.sigma) * w for w in weights))


_PREDICTIONS = {Pseudo.F: 4, Pseudo.S: 2}
_STAGES = {Pseudo.F: (1 / 6, 2 / 6, 2 / 6, 1 / 6), Pseudo.S: (0.5, 0.5)}
