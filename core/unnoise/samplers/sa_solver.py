"""SA-Solver (Xue 2023): stochastic Adams, predictor and corrector, on the reverse SDE."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Gaussian
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import adams, lam, levels, schedule_of, toward, weighted
from unnoise.samplers.base import Sampler, Step, intervals
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
        grid: Tensor,
        layout: Layout,
        noise: NoiseSource,
        condition: Condition = None,
    ) -> Generator[Step, State | None, None]:
        self.check(denoiser.kernel)
        schedule = schedule_of(denoiser)
        keep = max(self.predictor, self.corrector)
        history: History = []
        origin: tuple[Tensor, float] | None = None  # state and time at which the last step began
        z: State = torch.zeros(())
        guess: State = x
        for t, s in intervals(grid):
            x = tensor(x)
            law = denoiser(x, t, layout, condition)
            start, end = lam(schedule, t), lam(schedule, s)
            latest = (start, tensor(law.mean))
            if origin is not None and self.corrector:
                known = [*history[: self.corrector], latest]
                better = self._move(denoiser, *origin, t, known, tensor(z))
                # a known part that was put in since stays as it is
                x = better if x is guess else torch.where(x == tensor(guess), better, x)
            remember(history, *latest, keep=keep)
            origin = None
            if not math.isfinite(start - end):
                guess = toward(schedule, x, latest[1], t, s)
            else:
                if self.tau > 0:
                    zero = torch.zeros_like(x)
                    z = Gaussian(zero, 1.0, denoiser.kernel.space, layout).sample(noise)
                guess = self._move(denoiser, x, t, s, history[: self.predictor], tensor(z))
                origin = (x, t)
            sent = yield Step(s, guess, law)
            x = guess if sent is None else sent

    def _move(
        self, denoiser: Denoiser, x: Tensor, t: float, s: float, known: History, z: Tensor
    ) -> Tensor:
        schedule = schedule_of(denoiser)
        end = lam(schedule, s)
        h, noisy = end - lam(schedule, t), self.tau**2
        (_, sigma), (alpha_s, sigma_s) = levels(schedule, t), levels(schedule, s)
        weights = adams(nodes(known, end), h, 1 + noisy)
        state = weighted(
            [sigma_s / sigma * math.exp(-noisy * h), *(alpha_s * w for w in weights)],
            [x, *(value for _, value in known)],
        )
        if noisy == 0:
            return state
        return state.add_(z, alpha=sigma_s * math.sqrt(-math.expm1(-2 * noisy * h)))
