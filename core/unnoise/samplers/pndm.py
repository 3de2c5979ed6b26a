"""PNDM (Liu 2022): classical multistep coefficients with DDIM's step as the transfer."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, final

from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import (
    Level,
    level,
    noise_in,
    schedule_of,
    spans,
    toward,
    transfer,
    weighted,
)
from unnoise.samplers.base import Sampler, Step
from unnoise.spaces import Layout, State, tensor


class Pseudo(Enum):
    """F-PNDM: three steps of Runge-Kutta 4, then Adams-Bashforth 4. S-PNDM: one improved-Euler
    step, then Adams-Bashforth 2."""

    F = "F"
    S = "S"


@final
@dataclass(frozen=True)
class PNDM(Sampler):
    """x_s = phi(x_t, e', t, s), phi the DDIM step along e', e' a fixed combination of predictions:

        F: (55 e_0 - 59 e_1 + 37 e_2 - 9 e_3) / 24,    S: (3 e_0 - e_1) / 2.

    S steps cost 4 min(S, 3) + max(S - 3, 0) evaluations, so S + 9, and S + 1. A start that would
    end at sigma = 0, where eps is not defined, or begin at alpha = 0, where phi is not, is one
    DDIM step instead.
    """

    method: Pseudo = Pseudo.F
    requires: ClassVar[type] = GaussianKernel
    order: ClassVar[int] = 2
    one_step: ClassVar[bool] = False

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
        weights = _WEIGHTS[self.method]
        history: Slopes = []
        for a, b in spans(schedule, grid):
            x = tensor(x)
            law = denoiser(x, a.t, layout, condition)
            x0 = tensor(law.mean)
            if a.alpha > 0:
                history = [(noise_in(x, x0, a), a), *history[: len(weights) - 1]]
            if len(history) == len(weights):
                x = _transfer(x, weights, history, a, b)
            elif a.alpha <= 0 or b.sigma <= 0:
                x = toward(x, x0, a, b)
            else:
                x = self._start(denoiser, x, history[0], a, b, layout, condition)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent

    def _start(
        self,
        denoiser: Denoiser,
        x: Tensor,
        first: tuple[Tensor, Level],
        a: Level,
        b: Level,
        layout: Layout,
        condition: Condition,
    ) -> Tensor:
        """One single step with the slopes of a Runge-Kutta method."""
        half = level(schedule_of(denoiser), 0.5 * (a.t + b.t))
        stages = [half, half, b] if self.method is Pseudo.F else [b]
        slopes = [first]
        for at in stages:
            ahead = transfer(x, *slopes[-1], a, at)
            law = denoiser(ahead, at.t, layout, condition)
            slopes.append((noise_in(ahead, tensor(law.mean), at), at))
        return _transfer(x, _STAGES[self.method], slopes, a, b)


Slopes = list[tuple[Tensor, Level]]
"""sigma eps, and the level where it was found."""


def _transfer(x: Tensor, weights: Sequence[float], slopes: Slopes, a: Level, b: Level) -> Tensor:
    """phi along the sum of the weighted eps, in one pass over each."""
    ratio = b.alpha / a.alpha
    scale = b.sigma - ratio * a.sigma
    known = [scale * w / at.sigma for w, (_, at) in zip(weights, slopes, strict=True)]
    return weighted([ratio, *known], [x, *(noise for noise, _ in slopes)])


_WEIGHTS = {Pseudo.F: (55 / 24, -59 / 24, 37 / 24, -9 / 24), Pseudo.S: (1.5, -0.5)}
_STAGES = {Pseudo.F: (1 / 6, 2 / 6, 2 / 6, 1 / 6), Pseudo.S: (0.5, 0.5)}
