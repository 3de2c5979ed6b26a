"""SA-Solver (Xue 2023): stochastic Adams, predictor and corrector, on the reverse SDE."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, Schedule
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
from unnoise.samplers.multistep import remembered, step_row, trusted
from unnoise.spaces import State, tensor


@final
@dataclass(frozen=True)
class SASolver(Sampler):
    """With h = lambda_s - lambda_t and predictions x_0 interpolated by a polynomial in lambda:

        x_s = (sigma_s / sigma_t) e^(-tau^2 h) x_t + sigma_s sqrt(1 - e^(-2 tau^2 h)) z
              + alpha_s int (1 + tau^2) e^(-(1 + tau^2)(lambda_s - lambda)) x_0(lambda) d lambda.

    The predictor uses the latest predictions; the corrector repeats the step, with the same z, with
    the prediction at its end. tau = 0 is the probability-flow ODE, tau = 1 the reverse SDE.

    Parameters
    ----------
    tau : how much noise, >= 0.
    predictor, corrector : numbers of earlier predictions, 1 to 3; corrector 0 leaves it out.
    """

    tau: float = 1.0
    predictor: Literal[1, 2, 3] = 3
    corrector: Literal[0, 1, 2, 3] = 3
    requires: ClassVar[type] = GaussianKernel
    one_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.tau >= 0 or self.predictor not in (1, 2, 3) or self.corrector not in range(4):
            raise ConfigError(
                "SA-Solver out of range",
                value=(self.tau, self.predictor, self.corrector),
                limit="tau >= 0, predictor 1 to 3, corrector 0 to 3",
            )

    @property
    def order(self) -> int:
        """Of the deterministic part; the start, with one prediction, keeps it at 2, or 3."""
        if self.corrector == 0:
            return min(self.predictor, 2)
        return min(max(self.predictor, self.corrector + 1), 3)

    @property
    def stochastic(self) -> bool:
        return self.tau > 0

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        schedule = schedule_of(run.kernel)
        pairs = spans(schedule, grid)
        keep = max(self.predictor, self.corrector)
        history: list[Tensor] = []
        origin = guess = x  # where the last step began, and where it went
        draws: list[Tensor] = []
        for (a, b), (correct, predict) in zip(pairs, _rows(self, schedule, pairs), strict=True):
            x = tensor(x)
            law = run(x, a.t)
            x0 = tensor(law.mean)
            if correct is not None:
                better = weighted(correct, [tensor(origin), *draws, x0, *history])
                # a known part that was put in since stays as it is
                x = better if x is guess else torch.where(x == tensor(guess), better, x)
            history = [x0, *history[: keep - 1]]
            origin = x
            if predict is None:
                guess = toward(x, x0, a, b)
            else:
                if self.tau > 0:
                    draws = [tensor(run.normal())]
                guess = weighted(predict, [x, *draws, *history])
            sent = yield Step(b.t, guess, law)
            x = guess if sent is None else sent


@once
def _rows(sampler: SASolver, _: Schedule, pairs: Spans) -> list[tuple[Row | None, Row | None]]:
    """For each step the coefficients of the corrector that ends the step before, with the new
    prediction in front, and of the predictor: of the state, of z if there is noise, and of the
    predictions. None: there is none, or the step is of another kind."""
    rows: list[tuple[Row | None, Row | None]] = []
    keep = max(sampler.predictor, sampler.corrector)
    known: list[float] = []
    origin: Level | None = None
    for a, b in pairs:
        correct = predict = None
        if origin is not None and sampler.corrector:
            correct = _row(sampler, origin, a, [a.lam, *known[: sampler.corrector]])
        known = remembered(known, a, keep)
        origin = None
        if math.isfinite(b.lam - a.lam):
            predict, origin = _row(sampler, a, b, known[: sampler.predictor]), a
        rows.append((correct, predict))
    return rows


def _row(sampler: SASolver, a: Level, b: Level, known: list[float]) -> Row:
    h, noisy = b.lam - a.lam, sampler.tau**2
    nodes = [at - b.lam for at in known]
    weights = trusted(lambda n: adams(nodes[:n], h, 1 + noisy), len(nodes))
    own, *others = step_row(a, b, weights, math.exp(-noisy * h))
    spread = b.sigma * math.sqrt(-math.expm1(-2 * noisy * h))
    return (own, spread, *others) if noisy else (own, *others)
