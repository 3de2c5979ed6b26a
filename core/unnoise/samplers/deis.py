"""DEIS (Zhang & Chen 2023): Adams-Bashforth on dy / d rho = eps, y = x / alpha."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, Schedule
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import (
    lam,
    levels,
    noise_in,
    polynomials,
    rho,
    schedule_of,
    toward,
    weighted,
)
from unnoise.samplers.base import Sampler, Step, intervals
from unnoise.samplers.multistep import Warmup, third_order
from unnoise.spaces import Layout, State, tensor


@final
@dataclass(frozen=True)
class DEIS(Sampler):
    """x_s / alpha_s = x_t / alpha_t + sum_i eps_i int l_i d rho, over the step's change of rho,

    l_i the Lagrange polynomials of the latest `order` predictions, in t (t-AB) or in rho (rho-AB).
    The first steps are of lower order, or single steps of third order; a step from alpha = 0 uses
    the prediction of x_0.

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

    def __call__(
        self,
        denoiser: Denoiser,
        x: State,
        grid: Tensor,
        layout: Layout,
        noise: NoiseSource,
        condition: Condition = None,
    ) -> Generator[Step, State | None, None]:
        self.check(denoiser.kernel)
        schedule = schedule_of(denoiser)
        times: list[float] = []  # of the predictions in `history`, the latest first
        history: list[Tensor] = []
        for t, s in intervals(grid):
            x = tensor(x)
            law = denoiser(x, t, layout, condition)
            x0 = tensor(law.mean)
            alpha, _ = levels(schedule, t)
            if alpha > 0:
                times = [t, *times[: self.order - 1]]
                history = [noise_in(schedule, x, x0, t), *history[: self.order - 1]]
            if alpha <= 0:
                x = toward(schedule, x, x0, t, s)
            elif self._starting(times) and math.isfinite(lam(schedule, s)):
                x = third_order(denoiser, x, x0, t, s, layout, condition)
            else:
                alpha_s, _ = levels(schedule, s)
                weights = self._weights(schedule, times, t, s)
                x = weighted([alpha_s / alpha, *(alpha_s * w for w in weights)], [x, *history])
            sent = yield Step(s, x, law)
            x = x if sent is None else sent

    def _starting(self, times: Sequence[float]) -> bool:
        return self.warmup is Warmup.FULL and len(times) < self.order

    def _weights(
        self, schedule: Schedule, times: Sequence[float], t: float, s: float
    ) -> list[float]:
        """The integrals of the Lagrange polynomials over d rho from t to s."""
        if self.variable == "rho":
            points = [rho(schedule, u) - rho(schedule, s) for u in times]
            h = points[0]
            return [
                -sum(c * h ** (k + 1) / (k + 1) for k, c in enumerate(row))
                for row in polynomials(points)
            ]
        # by parts, [l rho] - int l' rho dt: rho' may be infinite at t = 0
        ends = rho(schedule, t), rho(schedule, s)
        inner = [(s + (t - s) * z, w * (t - s)) for z, w in _GAUSS]
        table = [(u - t, w * rho(schedule, u)) for u, w in inner]
        result = []
        for i, row in enumerate(polynomials([u - t for u in times])):
            at_end = sum(c * (s - t) ** k for k, c in enumerate(row))
            slope = [k * c for k, c in enumerate(row)][1:]
            area = sum(w * sum(c * z**k for k, c in enumerate(slope)) for z, w in table)
            result.append(at_end * ends[1] - (ends[0] if i == 0 else 0.0) + area)
        return result


# nodes and weights of Gauss and Legendre on [0, 1], exact to degree 11
_GAUSS = tuple(
    (0.5 + 0.5 * sign * node, 0.5 * weight)
    for node, weight in (
        (0.23861918608319690, 0.46791393457269104),
        (0.66120938646626451, 0.36076157304813861),
        (0.93246951420315203, 0.17132449237917036),
    )
    for sign in (-1, 1)
)
