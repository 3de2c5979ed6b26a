"""SA-Solver (Xue 2023): stochastic Adams, predictor and corrector, on the reverse SDE."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import Level, adams, schedule_of, spans, toward, weighted
from unnoise.samplers.base import Sampler, Step
from unnoise.samplers.multistep import History, nodes, remember
from unnoise.spaces import Layout, State, tensor


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
        keep = max(self.predictor, self.corrector)
        history: History = []
        origin: tuple[Tensor, Level] | None = None  # where the last step began
        z: State = torch.zeros(())
        guess: State = x
        for a, b in spans(schedule, grid):
            x = tensor(x)
            law = denoiser(x, a.t, layout, condition)
            x0 = tensor(law.mean)
            if origin is not None and self.corrector:
                known = [*history[: self.corrector], (a.lam, x0)]
                better = self._move(*origin, a, known, tensor(z))
                # a known part that was put in since stays as it is
                x = better if x is guess else torch.where(x == tensor(guess), better, x)
            remember(history, a.lam, x0, keep=keep)
            origin = None
            if not math.isfinite(b.lam - a.lam):
                guess = toward(x, x0, a, b)
            else:
                if self.tau > 0:
                    z = denoiser.kernel.space.project(noise.normal(layout), layout)
                guess = self._move(x, a, b, history[: self.predictor], tensor(z))
                origin = (x, a)
            sent = yield Step(b.t, guess, law)
            x = guess if sent is None else sent

    def _move(self, x: Tensor, a: Level, b: Level, known: History, z: Tensor) -> Tensor:
        h, noisy = b.lam - a.lam, self.tau**2
        weights = adams(nodes(known, b.lam), h, 1 + noisy)
        state = weighted(
            [b.sigma / a.sigma * math.exp(-noisy * h), *(b.alpha * w for w in weights)],
            [x, *(value for _, value in known)],
        )
        if noisy == 0:
            return state
        return state.add_(z, alpha=b.sigma * math.sqrt(-math.expm1(-2 * noisy * h)))
