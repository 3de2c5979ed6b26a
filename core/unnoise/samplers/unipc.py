"""UniPC (Zhao 2023): a multistep predictor, and a corrector that costs no evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.samplers.algebra import (
    Level,
    Row,
    Spans,
    adams,
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


@final
@dataclass(frozen=True)
class UniPC(Sampler):
    """Predictor UniP-p, then UniC-p with the prediction at the new state, which the next step uses.

        x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) m_0
              - alpha_s B(h) sum_i a_i (m_i - m_0) / r_i

    The weights a_i integrate the polynomial through the predictions m_i at t + r_i h exactly,
    whatever B; only with a single difference they are 1/2 (the predictor of p = 2, the corrector of
    p = 1), and there B matters: bh1 is B = -h, bh2 is B = e^-h - 1. The corrector raises the order
    to p + 1, if the first steps allow it.

    Parameters
    ----------
    p : 2 or 3.
    variant : "bh1" or "bh2".
    warmup : LOWER (order 3) or FULL (order p + 1).
    """

    p: Literal[2, 3] = 2
    variant: Literal["bh1", "bh2"] = "bh2"
    warmup: Warmup = Warmup.LOWER
    requires: ClassVar[type] = GaussianKernel
    one_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.p not in (2, 3) or self.variant not in ("bh1", "bh2"):
            raise ConfigError(
                "unknown UniPC", value=(self.p, self.variant), limit="p 2 or 3; bh1 or bh2"
            )

    @property
    def order(self) -> int:
        return self.p + 1 if self.warmup is Warmup.FULL else 3

    @property
    def stochastic(self) -> bool:
        return False

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        self.warmup.check(len(grid) - 1)

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        schedule = schedule_of(run.kernel)
        pairs = spans(schedule, grid)
        history: list[Tensor] = []
        origin = guess = x  # where the last step began, and where it went
        for (a, b), (correct, predict) in zip(pairs, _rows(self, schedule, pairs), strict=True):
            x = tensor(x)
            law = run(x, a.t)
            x0 = tensor(law.mean)
            if correct is not None:
                better = weighted(correct, [tensor(origin), x0, *history])
                # a known part that was put in since stays as it is
                x = better if x is guess else torch.where(x == tensor(guess), better, x)
            history = [x0, *history[: self.p - 1]]
            origin = x
            if predict is not None:
                guess = weighted(predict, [x, *history])
            elif math.isfinite(b.lam - a.lam):
                guess = third_order(run, x, x0, a, b)
            else:
                guess = toward(x, x0, a, b)
            sent = yield Step(b.t, guess, law)
            x = guess if sent is None else sent


@once
def _rows(sampler: UniPC, _: Schedule, pairs: Spans) -> list[tuple[Row | None, Row | None]]:
    """For each step the coefficients of the corrector that ends the step before: of the state and
    the prediction where that began, after the new prediction; and of the predictor. None: there
    is none, or the step is of another kind."""
    least = sampler.p if sampler.warmup is Warmup.FULL else 0
    rows: list[tuple[Row | None, Row | None]] = []
    known: list[float] = []
    origin: Level | None = None
    for a, b in pairs:
        correct = predict = None
        if origin is not None:
            *weights, new = _weights(sampler, origin, a, [*known, a.lam], len(known) + 1)
            correct = step_row(origin, a, [new, *weights])
        known = remembered(known, a, sampler.p)
        origin = None
        if math.isfinite(b.lam - a.lam) and len(known) >= least:
            latest = trusted(partial(_weights, sampler, a, b, known), len(known))
            predict, origin = step_row(a, b, latest), a
        rows.append((correct, predict))
    return rows


def _weights(
    sampler: UniPC, a: Level, b: Level, lambdas: Sequence[float], count: int
) -> list[float]:
    """Of the first `count` predictions made at these lambdas, the first of them at a."""
    h, known = b.lam - a.lam, lambdas[:count]
    fall = -math.expm1(-h)
    if len(known) == 1:
        return [fall]
    if len(known) == 2:
        slope = 0.5 * (h if sampler.variant == "bh1" else fall) * h / (known[1] - a.lam)
        return [fall - slope, slope]
    return adams([at - b.lam for at in known], h)
