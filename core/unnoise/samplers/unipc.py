"""UniPC (Zhao 2023): a multistep predictor, and a corrector that costs no evaluation."""

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
from unnoise.samplers.multistep import History, Warmup, nodes, remember, third_order
from unnoise.spaces import Layout, State, tensor


@final
@dataclass(frozen=True)
class UniPC(Sampler):
    """Predictor UniP-p, then UniC-p with the prediction at the new state, which the next step uses.

        x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) m_0
              - alpha_s B(h) sum_i a_i (m_i - m_0) / r_i

    The weights a_i integrate the polynomial through the predictions m_i at t + r_i h exactly,
    whatever B; only with a single difference they are 1/2 (the predictor of p = 2, the corrector of
    p = 1), and there B matters: bh1 is B = -h, bh2 is B = e^-h - 1. The corrector raises the order
    to p + 1, if the first steps allow it.

    Parameters
    ----------
    p : 2 or 3.
    variant : "bh1" or "bh2".
    warmup : LOWER (order 3) or FULL (order p + 1).
    """

    p: Literal[2, 3] = 2
    variant: Literal["bh1", "bh2"] = "bh2"
    warmup: Warmup = Warmup.LOWER
    requires: ClassVar[type] = GaussianKernel
    one_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.p not in (2, 3) or self.variant not in ("bh1", "bh2"):
            raise ConfigError(
                "unknown UniPC", value=(self.p, self.variant), limit="p 2 or 3; bh1 or bh2"
            )

    @property
    def order(self) -> int:
        return self.p + 1 if self.warmup is Warmup.FULL else 3

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
        history: History = []
        origin: tuple[Tensor, Level] | None = None  # where the last step began
        guess: State = x
        for a, b in spans(schedule, grid):
            x = tensor(x)
            law = denoiser(x, a.t, layout, condition)
            x0 = tensor(law.mean)
            if origin is not None:
                better = self._move(*origin, a, [*history, (a.lam, x0)])
                # a known part that was put in since stays as it is
                x = better if x is guess else torch.where(x == tensor(guess), better, x)
            remember(history, a.lam, x0, keep=self.p)
            origin = None
            if not math.isfinite(b.lam - a.lam):
                guess = toward(x, x0, a, b)
            elif self.warmup is Warmup.FULL and len(history) < self.p:
                guess = third_order(denoiser, x, x0, a, b, layout, condition)
            else:
                guess, origin = self._move(x, a, b, history), (x, a)
            sent = yield Step(b.t, guess, law)
            x = guess if sent is None else sent

    def _move(self, x: Tensor, a: Level, b: Level, known: History) -> Tensor:
        """x_s from x_t and predictions, of which the first was made at t."""
        h = b.lam - a.lam
        weights = [-math.expm1(-h)]
        if len(known) == 2:
            size = h if self.variant == "bh1" else weights[0]
            slope = 0.5 * size * h / (known[1][0] - a.lam)
            weights = [weights[0] - slope, slope]
        elif len(known) > 2:
            weights = adams(nodes(known, b.lam), h)
        return weighted(
            [b.sigma / a.sigma, *(b.alpha * w for w in weights)],
            [x, *(value for _, value in known)],
        )
