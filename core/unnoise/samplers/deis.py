"""DEIS (Zhang & Chen 2023): Adams-Bashforth on dy / d rho = eps, y = x / alpha."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.samplers.algebra import (
    Level,
    Row,
    Spans,
    interpolated,
    noise_in,
    once,
    schedule_of,
    spans,
    toward,
    weighted,
)
from unnoise.samplers.base import Sampler, Step, Steps, Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.multistep import Warmup, third_order, trusted
from unnoise.spaces import State, tensor


@final
@dataclass(frozen=True)
class DEIS(Sampler):
    """x_s / alpha_s = x_t / alpha_t + sum_i eps_i int l_i d rho, over the step's change of rho,

    l_i the Lagrange polynomials of the latest `order` predictions, in t (t-AB) or in rho (rho-AB).
    The first steps are of lower order, or single steps of third order; a step from where alpha is
    0, or almost, uses the prediction of x_0.

    Parameters
    ----------
    order : 2, 3 or 4, reached with Warmup.FULL; with LOWER the first step keeps the run at 2.
    variable : "t" or "rho".
    """

    order: Literal[2, 3, 4] = 3
    variable: Literal["t", "rho"] = "t"
    warmup: Warmup = Warmup.LOWER
    requires: ClassVar[type] = GaussianKernel
    one_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.order not in (2, 3, 4) or self.variable not in ("t", "rho"):
            raise ConfigError(
                "unknown DEIS", value=(self.order, self.variable), limit="order 2 to 4; t or rho"
            )

    @property
    def stochastic(self) -> bool:
        return False

    def check_grid(self, kernel: TransitionKernel, grid: Times) -> None:
        self.warmup.check(len(grid) - 1)

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        schedule = schedule_of(run.kernel)
        pairs = spans(schedule, grid)
        history: list[Tensor] = []  # eps as predicted, the latest first
        for (a, b), row in zip(pairs, _rows(self, schedule, pairs), strict=True):
            x = tensor(x)
            law = run(x, a.t)
            if not a.blind:
                history = [noise_in(x, law, a), *history[: self.order - 1]]
            if row is not None:
                x = weighted(row, [x, *history])
            elif not a.blind:
                x = third_order(run, x, tensor(law.mean), a, b)
            else:
                x = toward(x, tensor(law.mean), a, b)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent


@once
def _rows(sampler: DEIS, schedule: Schedule, pairs: Spans) -> list[Row | None]:
    """The coefficients of x_t and of the latest eps; None for a step of another kind."""
    rows: list[Row | None] = []
    times: list[Level] = []  # of the predictions, the latest first
    integrals = _integrals(sampler, schedule, pairs)
    for (a, b), moments in zip(pairs, integrals, strict=True):
        if not a.blind:
            times = [a, *times[: sampler.order - 1]]
        starting = sampler.warmup is Warmup.FULL and len(times) < sampler.order
        if a.blind or (starting and math.isfinite(b.lam)):
            rows.append(None)
            continue
        # t from that of the first prediction, or rho from that of the end
        if sampler.variable == "rho":
            nodes = [at.rho - b.rho for at in times]
        else:
            nodes = [at.t - a.t for at in times]
        weights = trusted(partial(_latest, nodes, moments), len(times))
        rows.append((b.alpha / a.alpha, *(b.alpha * w for w in weights)))
    return rows


def _latest(nodes: list[float], moments: list[float], count: int) -> list[float]:
    """The weights of the first `count` predictions."""
    return interpolated(nodes[:count], moments[:count])


def _integrals(sampler: DEIS, schedule: Schedule, pairs: Spans) -> list[list[float]]:
    """Of each step: the integrals over d rho of the powers 0 .. order - 1 of the variable."""
    powers = range(sampler.order)
    if sampler.variable == "rho":
        lengths = [a.rho - b.rho for a, b in pairs]
        return [[-(h ** (k + 1)) / (k + 1) for k in powers] for h in lengths]
    # by parts, [z^k rho] - int k z^(k - 1) rho dz: rho' may be infinite at t = 0
    ends = torch.tensor([(a.t, a.t - b.t, a.rho, b.rho) for a, b in pairs], dtype=torch.float64)
    t, h, first, last = ends.unbind(1)
    z = torch.outer(h, _NODES - 1)
    inner = t[:, None] + z
    rho = torch.as_tensor(schedule.sigma(inner)) / torch.as_tensor(schedule.alpha(inner))
    columns = [last - first]
    for k in powers[1:]:
        columns.append((-h) ** k * last + k * h * ((z ** (k - 1) * rho) @ _WEIGHTS))
    return torch.stack(columns, 1).tolist()


# Gauss and Legendre on [0, 1], exact to degree 11
_NODES, _WEIGHTS = (
    torch.as_tensor(v, dtype=torch.float64) / 2 for v in np.polynomial.legendre.leggauss(6)
)
_NODES = _NODES + 0.5
