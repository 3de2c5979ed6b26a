"""Heun's method: in t, and in rho = sigma / alpha with churn (Karras 2022, EDM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from unnoise.errors import ConfigError, IncompatibleSampler
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.samplers.algebra import (
    Level,
    Row,
    Spans,
    euler,
    level,
    once,
    schedule_of,
    spans,
    time_of_rho,
    toward,
    weighted,
)
from unnoise.samplers.base import Sampler, Step, Steps, Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.multistep import check_spans
from unnoise.spaces import State, tensor

_TRUST = 3.0  # less than of others, for DDIM has twice the steps
_FEWEST = 6  # of EDM


@final
@dataclass(frozen=True)
class Heun(Sampler):
    """x_s = x_t + (s - t) / 2 (dx/dt at t + dx/dt at the Euler step's end); to sigma = 0 Euler's
    kind of step, with one evaluation."""

    requires: ClassVar[type] = GaussianKernel
    evaluations: ClassVar[int] = 2
    order: ClassVar[int] = 2

    @property
    def stochastic(self) -> bool:
        return False

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        schedule = schedule_of(run.kernel)
        pairs = spans(schedule, grid)
        for (a, b), rows in zip(pairs, _rows(None, schedule, pairs), strict=True):
            x = tensor(x)
            law = run(x, a.t)
            if rows is None:
                ahead = toward(x, tensor(law.mean), a, b)
            else:
                ahead = weighted(rows[0], (x, tensor(law.mean)))
                law = run(ahead, b.t)
                ahead = weighted(rows[1], (x, ahead, tensor(law.mean)))
            sent = yield Step(b.t, ahead, law)
            x = ahead if sent is None else sent

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        # a step in t is not even exact where the prediction stays the same
        check_spans(spans(schedule_of(kernel), grid), "Heun's method", _TRUST, most=5.0)


@once
def _rows(_: None, schedule: Schedule, pairs: Spans) -> list[tuple[Row, Row] | None]:
    """The coefficients of x_t and x_0 in Euler's step, and of x_t, the state ahead and x_0 there in
    (x_t + the Euler step from ahead) / 2; None for the step to 0."""
    rows: list[tuple[Row, Row] | None] = []
    for a, b in pairs:
        if b.t == 0:
            rows.append(None)
            continue
        own, other = euler(schedule, b, b.t - a.t)
        rows.append((euler(schedule, a, b.t - a.t), (0.5, 0.5 * own, 0.5 * other)))
    return rows


@final
@dataclass(frozen=True)
class EDM(Sampler):
    """Heun's method on dy / d rho = eps, y = x / alpha, each step after a step back into the noise.

    The churn raises rho by the factor 1 + min(churn / N, sqrt(2) - 1), N the number of steps, where
    rho lies within [churn_min, churn_max], though never above the prior's; it is a draw of the
    kernel's own transition, its noise times churn_noise. 0 is the deterministic sampler. A step
    from where nothing is seen is Heun's on d(x / sigma) / d(alpha / sigma) = x_0 instead; that to
    sigma = 0 takes one evaluation.
    """

    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = float("inf")
    churn_noise: float = 1.0
    requires: ClassVar[type] = GaussianKernel
    evaluations: ClassVar[int] = 2
    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not (self.churn >= 0 and self.churn_noise >= 0 and self.churn_min <= self.churn_max):
            raise ConfigError(
                "churn is out of range",
                value=self,
                limit="churn >= 0, churn_noise >= 0, churn_min <= churn_max",
            )

    @property
    def stochastic(self) -> bool:
        return self.churn > 0

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        schedule = schedule_of(run.kernel)
        for a, b in spans(schedule, grid):
            x = tensor(x)
            back = self._raised(schedule, a, len(grid) - 1)
            if back.t > a.t:
                spread = run.kernel.transition(x, a.t, back.t, run.layout)
                mean = tensor(spread.mean)
                x = (tensor(spread.sample(run.noise)) - mean).mul_(self.churn_noise).add_(mean)
            law = run(x, back.t)
            ahead = toward(x, tensor(law.mean), back, b)
            if b.t > 0 and back.blind and not b.blind:
                first, law = tensor(law.mean), run(ahead, b.t)
                ahead = toward(x, 0.5 * (first + tensor(law.mean)), back, b)
            elif b.t > 0 and not back.blind:
                law = run(ahead, b.t)
                ratio = b.alpha / back.alpha
                half = 0.5 * (b.sigma - ratio * back.sigma) / b.sigma
                # (the step along eps_t, plus that along eps_s) / 2
                weights = (0.5 * ratio, 0.5 + half, -half * b.alpha)
                ahead = weighted(weights, (x, ahead, tensor(law.mean)))
            sent = yield Step(b.t, ahead, law)
            x = ahead if sent is None else sent

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        if (steps := len(grid) - 1) < _FEWEST:
            raise IncompatibleSampler(
                "EDM takes two evaluations a step, too many for so few steps",
                value=steps,
                limit=f"at least {_FEWEST} steps",
                fix="take more steps, or another sampler: unipc, dpmpp, ddim",
            )
        check_spans(spans(schedule_of(kernel), grid), "EDM", _TRUST)

    def _raised(self, schedule: Schedule, at: Level, steps: int) -> Level:
        """The level to which churn goes back."""
        if self.churn == 0 or not self.churn_min <= at.rho <= self.churn_max:
            return at
        factor = 1 + min(self.churn / steps, 2**0.5 - 1)
        return level(schedule, time_of_rho(schedule, at.rho * factor, at.t, 1.0))
