"""DEIS (Zhang & Chen 2023): Adams-Bashforth on dy / d rho = eps, y = x / alpha."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, Schedule
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import (
    Level,
    noise_in,
    polynomials,
    rho,
    schedule_of,
    spans,
    toward,
    weighted,
)
from unnoise.samplers.base import Sampler, Step
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
        grid: Float64[Tensor, " times"],
        layout: Layout,
        noise: NoiseSource,
        condition: Condition = None,
    ) -> Generator[Step, State | None, None]:
        self.check(denoiser.kernel)
        schedule = schedule_of(denoiser)
        times: list[Level] = []  # of the predictions in `history`, the latest first
        history: list[Tensor] = []
        for a, b in spans(schedule, grid):
            x = tensor(x)
            law = denoiser(x, a.t, layout, condition)
            x0 = tensor(law.mean)
            if a.alpha > 0:
                times = [a, *times[: self.order - 1]]
                history = [noise_in(x, x0, a), *history[: self.order - 1]]
            if a.alpha <= 0:
                x = toward(x, x0, a, b)
            elif self._starting(times) and math.isfinite(b.lam):
                x = third_order(denoiser, x, x0, a, b, layout, condition)
            else:
                weights = self._weights(schedule, times, b)
                x = weighted([b.alpha / a.alpha, *(b.alpha * w for w in weights)], [x, *history])
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent

    def _starting(self, times: Sequence[Level]) -> bool:
        return self.warmup is Warmup.FULL and len(times) < self.order

    def _weights(self, schedule: Schedule, times: Sequence[Level], end: Level) -> list[float]:
        """The integrals of the Lagrange polynomials over d rho, from the first of `times`."""
        if self.variable == "rho":
            points = [at.rho - end.rho for at in times]
            h = points[0]
            return [
                -sum(c * h ** (k + 1) / (k + 1) for k, c in enumerate(row))
                for row in polynomials(points)
            ]
        # by parts, [l rho] - int l' rho dt: rho' may be infinite at t = 0
        t, h = times[0].t, times[0].t - end.t
        inner = [((z - 1) * h, w * h) for z, w in _GAUSS]  # times after t
        table = [(u, w * rho(schedule, t + u)) for u, w in inner] if len(times) > 1 else []
        result = []
        for i, row in enumerate(polynomials([at.t - t for at in times])):
            at_end = sum(c * (-h) ** k for k, c in enumerate(row))
            slope = [k * c for k, c in enumerate(row)][1:]
            area = sum(w * sum(c * z**k for k, c in enumerate(slope)) for z, w in table)
            result.append(at_end * end.rho - (times[0].rho if i == 0 else 0.0) + area)
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
