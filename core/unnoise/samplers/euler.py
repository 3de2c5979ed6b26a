"""Euler's method on the probability-flow ODE in t (Song 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, final

from torch import Tensor

from unnoise.errors import IncompatibleSampler
from unnoise.kernels import GaussianKernel, ProductKernel, Schedule, TransitionKernel
from unnoise.samplers.algebra import (
    Level,
    Row,
    Spans,
    euler,
    once,
    schedule_of,
    spans,
    toward,
    weighted,
)
from unnoise.samplers.base import Sampler, Step, Steps, Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.products import by_parts
from unnoise.spaces import Layout, State, tensor

_BESIDE: Final = 1.0


@final
@dataclass(frozen=True)
class Euler(Sampler):
    """x_s = x_t + (s - t) (alpha' x_0 + sigma' eps); the step to sigma = 0 returns the prediction.

    On the straight path of flow matching it is DDIM; elsewhere DDIM is the better first order.
    """

    requires: ClassVar[type] = GaussianKernel
    products: ClassVar[bool] = True

    @property
    def stochastic(self) -> bool:
        return False

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        if isinstance(run.kernel, ProductKernel):
            return by_parts(_step, run.kernel, run, x, grid)
        return self._gaussian(run, x, grid)

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        parts = kernel.parts.values() if isinstance(kernel, ProductKernel) else [kernel]
        for schedule in (part.schedule for part in parts if isinstance(part, GaussianKernel)):
            for a, b in spans(schedule, grid):
                _check_step(schedule, a, b)

    def _gaussian(self, run: Diffusion, x: State, grid: Times) -> Steps:
        schedule = schedule_of(run.kernel)
        pairs = spans(schedule, grid)
        for (a, b), row in zip(pairs, _rows(None, schedule, pairs), strict=True):
            x = tensor(x)
            law = run(x, a.t)
            x0 = tensor(law.mean)
            x = weighted(row, (x, x0)) if b.t > 0 else toward(x, x0, a, b)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent


def _step(
    kernel: GaussianKernel, x: Tensor, x0: Tensor, a: Level, b: Level, layout: Layout
) -> Tensor:
    if b.t == 0:
        return toward(x, x0, a, b)
    return weighted(euler(kernel.schedule, a, b.t - a.t), (x, x0))


def _check_step(schedule: Schedule, a: Level, b: Level) -> None:
    """A step that goes along the slope at its beginning, where alpha or sigma turn within it, lands
    beside the state of an unchanged prediction by its weight there times x_0."""
    if b.t == 0:
        return
    _, weight = euler(schedule, a, b.t - a.t)
    beside = abs(weight - (b.alpha - a.alpha * b.sigma / a.sigma))
    if beside > _BESIDE:
        raise IncompatibleSampler(
            "Euler's method would go astray on this grid: alpha bends too much in a step",
            value=f"{beside:.3g} x_0 beside the way from t = {a.t:.3g}",
            limit=f"{_BESIDE:g} x_0",
            fix="take more steps, or another grid or sampler: log-snr, ddim",
        )


@once
def _rows(_: None, schedule: Schedule, pairs: Spans) -> list[Row]:
    """The coefficients of x_t and x_0."""
    return [euler(schedule, a, b.t - a.t) for a, b in pairs]
