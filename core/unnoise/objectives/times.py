"""Random times for objectives and bounds with a continuous clock.

With gamma(t) = -log SNR(t), the diffusion coefficient of every Gaussian process is
g^2 = sigma^2 gamma'(t): the likelihood weighting lambda = g^2 of the score is gamma' on the noise.
Times of density gamma' / Z, Z = gamma(1) - gamma(eps), turn it into the plain error of the noise
(Song 2021, Maximum likelihood training).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float64
from torch import Tensor

from unnoise.errors import ConfigError
from unnoise.kernels import Schedule

_HALVINGS = 60


class TimeLaw(ABC):
    """A density of times on [eps, 1]."""

    if TYPE_CHECKING:  # a property or a field: a dataclass cannot override an abstract property

        @property
        def eps(self) -> float:
            """The smallest time."""

    @abstractmethod
    def times(self, schedule: Schedule, u: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        """The inverse of the distribution function at u in [0, 1]."""

    @abstractmethod
    def density(
        self, schedule: Schedule, t: Float64[Tensor, " batch"]
    ) -> Float64[Tensor, " batch"]:
        """p(t), which integrates to 1 over [eps, 1]."""


@final
@dataclass(frozen=True)
class UniformTimes(TimeLaw):
    """p(t) = 1 / (1 - eps)."""

    eps: float = 1e-5

    def __post_init__(self) -> None:
        _check(self.eps)

    def times(self, schedule: Schedule, u: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        return self.eps + u * (1 - self.eps)

    def density(
        self, schedule: Schedule, t: Float64[Tensor, " batch"]
    ) -> Float64[Tensor, " batch"]:
        return torch.full_like(t, 1 / (1 - self.eps))


@final
@dataclass(frozen=True)
class ImportanceTimes(TimeLaw):
    """p(t) = g^2 / (sigma^2 Z) = gamma'(t) / Z: uniform in log SNR."""

    eps: float = 1e-5

    def __post_init__(self) -> None:
        _check(self.eps)

    def normaliser(self, schedule: Schedule) -> float:
        """Z = int_eps^1 g^2 / sigma^2 dt, the factor that an importance-sampled bound carries."""
        first, last = self._ends(schedule)
        return last - first

    def times(self, schedule: Schedule, u: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        first, last = self._ends(schedule)
        return time_of_gamma(schedule, first + u * (last - first), self.eps)

    def cdf(self, schedule: Schedule, t: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        """P(time <= t)."""
        first, last = self._ends(schedule)
        return (gamma(schedule, t) - first) / (last - first)

    def density(
        self, schedule: Schedule, t: Float64[Tensor, " batch"]
    ) -> Float64[Tensor, " batch"]:
        return d_gamma(schedule, t) / self.normaliser(schedule)

    def _ends(self, schedule: Schedule) -> tuple[float, float]:
        if schedule.alpha(1.0) <= 0:
            raise ConfigError(
                "g^2 / sigma^2 has no finite integral where the signal vanishes at t = 1",
                value=type(schedule).__name__,
                fix="use UniformTimes()",
            )
        ends = gamma(schedule, torch.tensor([self.eps, 1.0], dtype=torch.float64)).tolist()
        return ends[0], ends[1]


def gamma(schedule: Schedule, t: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
    """-log SNR(t)."""
    return -torch.as_tensor(schedule.log_snr(t))


def d_gamma(schedule: Schedule, t: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
    """gamma'(t) = g^2 / sigma^2 = 2 (sigma' / sigma - alpha' / alpha)."""
    noise = schedule.d_sigma(t) / schedule.sigma(t)
    return torch.as_tensor(2 * (noise - schedule.d_alpha(t) / schedule.alpha(t)))


def time_of_gamma(
    schedule: Schedule, value: Float64[Tensor, "..."], eps: float = 1e-5
) -> Float64[Tensor, "..."]:
    """The times in [eps, 1] at which gamma is `value`, by bisection to the last bit."""
    low, high = torch.full_like(value, eps), torch.ones_like(value)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = gamma(schedule, middle) < value
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def _check(eps: float) -> None:
    if not 0 < eps < 1 or not math.isfinite(eps):
        raise ConfigError("times start at a small eps", value=eps, limit="0 < eps < 1")
