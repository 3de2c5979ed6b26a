"""DEIS (Zhang & Chen 2023): Adams-Bashforth on dy / d rho = eps, y = x / alpha."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, Schedule
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import (
    Level,
    interpolated,
    noise_in,
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
        pairs = spans(schedule_of(denoiser), grid)
        integrals = self._integrals(schedule_of(denoiser), pairs)
        times: list[Level] = []  # of the predictions in `history`, the latest first
        history: list[Tensor] = []
        for (a, b), moments in zip(pairs, integrals, strict=True):
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
                known = interpolated(self._nodes(times, b), moments[: len(times)])
                scaled = [b.alpha * w / at.sigma for w, at in zip(known, times, strict=True)]
                x = weighted([b.alpha / a.alpha, *scaled], [x, *history])
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent

    def _starting(self, times: Sequence[Level]) -> bool:
        return self.warmup is Warmup.FULL and len(times) < self.order

    def _nodes(self, times: Sequence[Level], end: Level) -> list[float]:
        """Where the predictions were made: t from that of the first, or rho from that of `end`."""
        if self.variable == "rho":
            return [at.rho - end.rho for at in times]
        return [at.t - times[0].t for at in times]

    def _integrals(
        self, schedule: Schedule, pairs: Sequence[tuple[Level, Level]]
    ) -> list[list[float]]:
        """Of each step: the integrals over d rho of the powers 0 .. order - 1 of the variable."""
        powers = range(self.order)
        if self.variable == "rho":
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
