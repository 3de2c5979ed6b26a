"""DPM-Solver++ (Lu 2022): exponential integrators of d(x / sigma) / d lambda = e^lambda x_0."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, final

from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import adams, between, schedule_of, spans, toward, weighted
from unnoise.samplers.base import Sampler, Step
from unnoise.samplers.multistep import History, Warmup, nodes, remember, third_order
from unnoise.spaces import Layout, State, tensor


class Solver(Enum):
    """2M and 3M use the predictions of earlier steps; 2S makes a second one within each step."""

    M2 = "2M"
    S2 = "2S"
    M3 = "3M"


@final
@dataclass(frozen=True)
class DPMSolverPP(Sampler):
    """With h = lambda_s - lambda_t:

        2M: x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) (m_0 + (h / 2 h_1) (m_0 - m_1)),

    m_i the predictions of x_0 at the latest times and h_1 the step before. 2S puts the prediction
    half-way in lambda in the place of the history; 3M integrates a parabola through m_0, m_1, m_2.
    The first steps, a step from alpha = 0 and that to sigma = 0 are of lower order.

    Parameters
    ----------
    solver : Solver.M2, S2 or M3.
    warmup : of 3M; with Warmup.FULL it takes S + 4 evaluations and has order 3.
    """

    solver: Solver = Solver.M2
    warmup: Warmup = Warmup.LOWER
    requires: ClassVar[type] = GaussianKernel

    @property
    def evaluations(self) -> int:
        return 2 if self.solver is Solver.S2 else 1

    @property
    def order(self) -> int:
        return 3 if self.solver is Solver.M3 and self.warmup is Warmup.FULL else 2

    @property
    def one_step(self) -> bool:
        return self.solver is Solver.S2

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
        history: History = []  # of earlier steps
        keep = {Solver.M2: 1, Solver.S2: 0, Solver.M3: 2}[self.solver]
        full = self.solver is Solver.M3 and self.warmup is Warmup.FULL
        for a, b in spans(schedule, grid):
            x = tensor(x)
            law = denoiser(x, a.t, layout, condition)
            x0 = tensor(law.mean)
            h = b.lam - a.lam
            if not math.isfinite(h):
                x = toward(x, x0, a, b)
            elif full and len(history) < keep:
                x = third_order(denoiser, x, x0, a, b, layout, condition)
            else:
                earlier = history
                if self.solver is Solver.S2:
                    half = between(schedule, a, b, 0.5)
                    law = denoiser(toward(x, x0, a, half), half.t, layout, condition)
                    earlier = [(half.lam, tensor(law.mean))]
                if len(earlier) == 2:
                    weights = adams((-h, *nodes(earlier, b.lam)), h)
                else:
                    fall = -math.expm1(-h)
                    slopes = [fall * 0.5 * h / (a.lam - at) for at, _ in earlier]
                    weights = [fall + sum(slopes), *(-w for w in slopes)]
                x = weighted(
                    [b.sigma / a.sigma, *(b.alpha * w for w in weights)],
                    [x, x0, *(value for _, value in earlier)],
                )
            remember(history, a.lam, x0, keep)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent
