"""Random times for objectives and bounds with a continuous clock.

With gamma(t) = -log SNR(t), the diffusion coefficient of every Gaussian process is
g^2 = sigma^2 gamma'(t): the likelihood weighting lambda = g^2 of the score is gamma' on the noise.
Times of density gamma' / Z, Z = gamma(1) - gamma(eps), turn it into the plain error of the noise
(Song 2021, Maximum likelihood training).

Where states are nearly standard normal, what is left of an error of the noise goes as alpha^2, and
the times at which a weighted one is estimated with the least variance are (Vahdat 2021, LSGM)

    weight of |eps - eps_hat|^2       density
    g^2 / sigma^2  (likelihood)       d log sigma^2 / dt      LogVarianceTimes
    1              (unweighted)       1 - sigma^2             SignalTimes
    g^2            (reweighted)       d sigma^2 / dt          VarianceTimes
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from unnoise.errors import ConfigError
from unnoise.kernels import Schedule

_HALVINGS = 60
_NEWTON = 4
_CELLS = 256
_TINY = 1e-300
_NODES, _WEIGHTS = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(8))


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


@final
@dataclass(frozen=True)
class LogVarianceTimes(TimeLaw):
    """p(t) = (log sigma^2)' / Z: uniform in log sigma."""

    eps: float = 1e-5

    def __post_init__(self) -> None:
        _check(self.eps)

    def times(self, schedule: Schedule, u: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        first, last = _variances(schedule, self.eps).log().tolist()
        return _time_of_variance(schedule, (first + u * (last - first)).exp(), self.eps)

    def density(
        self, schedule: Schedule, t: Float64[Tensor, " batch"]
    ) -> Float64[Tensor, " batch"]:
        first, last = _variances(schedule, self.eps).log().tolist()
        rate = 2 * schedule.d_sigma(t) / schedule.sigma(t)
        return torch.as_tensor(rate / (last - first))


@final
@dataclass(frozen=True)
class VarianceTimes(TimeLaw):
    """p(t) = (sigma^2)' / Z: uniform in sigma^2."""

    eps: float = 1e-5

    def __post_init__(self) -> None:
        _check(self.eps)

    def times(self, schedule: Schedule, u: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        first, last = _variances(schedule, self.eps).tolist()
        return _time_of_variance(schedule, first + u * (last - first), self.eps)

    def density(
        self, schedule: Schedule, t: Float64[Tensor, " batch"]
    ) -> Float64[Tensor, " batch"]:
        first, last = _variances(schedule, self.eps).tolist()
        rate = 2 * schedule.d_sigma(t) * schedule.sigma(t)
        return torch.as_tensor(rate / (last - first))


@final
@dataclass(frozen=True)
class SignalTimes(TimeLaw):
    """p(t) = (1 - sigma^2) / Z, of schedules whose sigma does not exceed 1.

    The integral up to t is a sum of Gauss-Legendre rules, of 8 nodes in each of 256 cells, exact to
    the last digits where sigma^2 is smooth; a time is found in its cell by Newton's method.
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        _check(self.eps)

    def times(self, schedule: Schedule, u: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        edges, total = _signal_table(schedule, self.eps)
        goal = u.to(total) * total[-1]
        cell = torch.searchsorted(total, goal, right=True).clamp(1, len(edges) - 1)
        low, high = edges[cell - 1], edges[cell]
        share = (goal - total[cell - 1]) / (total[cell] - total[cell - 1])
        t = low + share * (high - low)
        for _ in range(_NEWTON):
            error = total[cell - 1] + _integral(schedule, low, t) - goal
            t = (t - error / _signal(schedule, t).clamp(min=_TINY)).clamp(low, high)
        return t

    def density(
        self, schedule: Schedule, t: Float64[Tensor, " batch"]
    ) -> Float64[Tensor, " batch"]:
        return _signal(schedule, t) / _signal_table(schedule, self.eps)[1][-1]


def _signal(schedule: Schedule, t: Tensor) -> Tensor:
    """1 - sigma^2."""
    return torch.as_tensor(1 - schedule.sigma(t) ** 2).detach()


def _signal_table(schedule: Schedule, eps: float) -> tuple[Tensor, Tensor]:
    """Edges of cells and int_eps^edge (1 - sigma^2) dt; of a schedule with parameters, of today."""
    learns = any(True for _ in schedule.modules())
    return _table(schedule, eps) if learns else _kept_table(schedule, eps)


def _table(schedule: Schedule, eps: float) -> tuple[Tensor, Tensor]:
    if schedule.steps is not None:
        raise ConfigError(
            "this law of times needs a continuous clock",
            value=type(schedule).__name__,
            fix="use UniformTimes()",
        )
    edges = torch.linspace(eps, 1, _CELLS + 1, dtype=torch.float64)
    pieces = _integral(schedule, edges[:-1], edges[1:])
    if not bool((pieces > 0).all()):
        raise ConfigError(
            "1 - sigma^2 is a density only where sigma does not exceed 1",
            value=type(schedule).__name__,
            fix="use UniformTimes()",
        )
    return edges, torch.cat([torch.zeros(1, dtype=torch.float64), pieces.cumsum(0)])


_kept_table = lru_cache(maxsize=32)(_table)


def _integral(schedule: Schedule, low: Tensor, high: Tensor) -> Tensor:
    """int_low^high (1 - sigma^2) dt."""
    half = (high - low)[..., None] / 2
    t = low[..., None] + half * (1 + _NODES)
    return (half * _WEIGHTS * _signal(schedule, t)).sum(-1)


def _variances(schedule: Schedule, eps: float) -> Tensor:
    """sigma^2 at eps and 1."""
    ends = torch.tensor([eps, 1.0], dtype=torch.float64)
    return torch.as_tensor(schedule.sigma(ends) ** 2).detach()


def _time_of_variance(schedule: Schedule, value: Tensor, eps: float) -> Tensor:
    """The times in [eps, 1] at which sigma^2 is `value`, by bisection to the last bit."""
    return _bisected(lambda t: torch.as_tensor(schedule.sigma(t) ** 2), value, eps)


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
    return _bisected(lambda t: gamma(schedule, t), value, eps)


@torch.no_grad()
def _bisected(function: Callable[[Tensor], Tensor], value: Tensor, eps: float) -> Tensor:
    """Where an increasing function on [eps, 1] has this value."""
    low, high = torch.full_like(value, eps), torch.ones_like(value)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = function(middle) < value
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def _check(eps: float) -> None:
    if not 0 < eps < 1 or not math.isfinite(eps):
        raise ConfigError("times start at a small eps", value=eps, limit="0 < eps < 1")
