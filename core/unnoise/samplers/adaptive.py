"""The probability-flow ODE with step sizes of each sample's own (Dormand & Prince 1980)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Distribution
from unnoise.errors import ConfigError, LimitExceeded, NonFiniteError
from unnoise.kernels import GaussianKernel
from unnoise.kernels.gaussian import combine
from unnoise.noise import NoiseSource
from unnoise.samplers.algebra import FIRST, level, schedule_of, toward
from unnoise.samplers.base import Sampler, Step, intervals
from unnoise.spaces import Layout, State, tensor


@final
@dataclass(frozen=True)
class AdaptiveODE(Sampler):
    """dx/dt = alpha' x_0 + sigma' eps by the pair of Dormand and Prince of orders 5 and 4.

    The grid only says where states are yielded. Each sample has its own step size, from its own
    error estimate, so that neighbours in the batch do not matter; a batch takes as many evaluations
    as its slowest sample. Before sigma = 0 the solution stops at time `end` and the prediction
    there is returned.

    Parameters
    ----------
    rtol, atol : of the error of a step, root mean square over a sample's entries.
    end : the time of the last prediction when the grid goes on to 0.
    most : evaluations after which LimitExceeded is raised.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    end: float = 1e-3
    most: int = 10_000
    requires: ClassVar[type] = GaussianKernel
    evaluations: ClassVar[int] = 0
    order: ClassVar[int] = 5

    def __post_init__(self) -> None:
        if not (self.rtol >= 0 and self.atol > 0 and FIRST <= self.end < 1):
            raise ConfigError(
                "tolerances out of range",
                value=(self.rtol, self.atol, self.end),
                limit=f"rtol >= 0, atol > 0, end {FIRST:g} to 1",
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
        solve = _Solve(self, denoiser, layout, condition)
        # the first step size of each sample; later intervals begin with the last one's
        h = torch.full((layout.batch,), 1e-3, dtype=torch.float64, device=layout.device)
        for t, s in intervals(grid):
            stop = s if s > 0 else min(self.end, t)
            x, h = solve.interval(tensor(x), t, stop, h)
            law = denoiser(x, stop, layout, condition)
            if s == 0:
                ends = (level(solve.schedule, u) for u in (stop, s))
                x = toward(tensor(x), tensor(law.mean), *ends)
            sent = yield Step(s, x, law)
            x = x if sent is None else sent


class _Solve:
    """One run: what the slope depends on beside the state."""

    def __init__(
        self, options: AdaptiveODE, denoiser: Denoiser, layout: Layout, condition: Condition
    ) -> None:
        self.options, self.denoiser = options, denoiser
        self.layout, self.condition = layout, condition
        self.schedule = schedule_of(denoiser)
        self.calls = 0

    def slope(self, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt at the samples' own times (B,)."""
        self.calls += 1
        if self.calls > self.options.most:
            raise LimitExceeded(
                "the adaptive solver does not get ahead",
                value=self.calls,
                limit=self.options.most,
                fix="loosen rtol and atol, or use a grid sampler",
            )
        law: Distribution = self.denoiser(x, t, self.layout, self.condition)
        growth = self.schedule.d_sigma(t) / self.schedule.sigma(t)
        pull = self.schedule.d_alpha(t) - growth * self.schedule.alpha(t)
        return combine(self.layout, growth, x, pull, tensor(law.mean))

    def interval(self, x: Tensor, t: float, s: float, h: Tensor) -> tuple[Tensor, Tensor]:
        """The states at s < t, and the step sizes there."""
        now = torch.full_like(h, t)
        slope = self.slope(x, now) if t > s else x
        while bool((going := now > s).any()):
            # samples that have arrived wait with steps of length 0
            size = torch.where(going, torch.minimum(h, now - s), torch.zeros_like(h))
            ahead, end, error = self._step(x, now, size, slope)
            if not bool(torch.isfinite(error).all()):
                raise NonFiniteError("NaN or infinity in the slope of the probability-flow ODE")
            good = going & (error <= 1)
            factor = (0.9 * error.clamp(min=1e-10) ** -0.2).clamp(0.2, 5.0)
            grown = size * factor
            # a step that was cut short to arrive says nothing against the longer one
            grown = torch.where(good & (size < h), torch.maximum(h, grown), grown)
            h = torch.where(going, grown, h)
            x = torch.where(self._each(good, x), ahead, x)
            slope = torch.where(self._each(good, x), end, slope)
            arrived = good & (size >= now - s)
            now = torch.where(good, now - size, now)
            now = torch.where(arrived, torch.full_like(now, s), now)
        return x, h

    def _step(
        self, x: Tensor, t: Tensor, h: Tensor, first: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The state and the slope after a step of length h, and its error over the tolerance."""
        slopes = [first]
        state = x
        for at, row in zip(_C, _A, strict=True):
            change = sum((a * k for a, k in zip(row, slopes, strict=True)), torch.zeros_like(x))
            state = x - tensor(self.layout.expand(h, x)) * change
            slopes.append(self.slope(state, t - at * h))
        gap = sum((e * k for e, k in zip(_E, slopes, strict=True)), torch.zeros_like(x))
        gap = tensor(self.layout.expand(h, x)) * gap
        scale = self.options.atol + self.options.rtol * torch.maximum(x.abs(), state.abs())
        squares = self.layout.sum((gap / scale).double() ** 2) / self.layout.sizes
        return state, slopes[-1], squares.sqrt()

    def _each(self, chosen: Tensor, like: Tensor) -> Tensor:
        return tensor(self.layout.expand(chosen.double(), like)) > 0


# the nodes, the stages and the difference of the two solutions; the last stage is the solution
_C = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_E = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
