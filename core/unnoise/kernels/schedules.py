"""Schedules: how much signal alpha(t) and noise sigma(t) a state holds at time t in [0, 1].

    x_t = alpha_t x_0 + sigma_t eps,    SNR(t) = alpha_t^2 / sigma_t^2, decreasing,

which is the stochastic differential equation dx = f x dt + g dw (Song 2021) with

    f = alpha' / alpha,    g^2 = 2 sigma sigma' - 2 f sigma^2 = -sigma^2 d log SNR / dt.

    variance preserving   alpha^2 + sigma^2 = 1            VPLinear, VPCosine, BetaTable
    sub-VP                sigma = 1 - alpha^2              SubVP
    variance exploding    alpha = 1                        VE
    straight path         alpha + sigma = 1                Linear

Time 0 is the data itself: alpha(0) = 1 and sigma(0) = 0 exactly. Some published schedules start at
a smallest noise level above zero; they keep it for every t > 0, and the step to t = 0 is the last
denoising step.

Every function takes a float and returns a float (one time for a whole batch, no tensor work), or
takes a float64 tensor and returns one of the same shape.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from unnoise.errors import ConfigError
from unnoise.kernels.elementary import clean_at_zero, cos, exp, expm1, log, sin, sqrt
from unnoise.spaces import Time

_HALVINGS = 60


class Schedule(ABC):
    """alpha(t) and sigma(t), with alpha/sigma decreasing, and their derivatives (at t > 0).

    A schedule is a value, a frozen dataclass of numbers: samplers keep coefficients by it. One with
    parameters is a module, of which nothing is kept.
    """

    @property
    @abstractmethod
    def steps(self) -> int | None:
        """Number of discrete steps T when the schedule is a table, else None."""

    @abstractmethod
    def alpha(self, t: Time) -> Time:
        """Signal coefficient."""

    @abstractmethod
    def sigma(self, t: Time) -> Time:
        """Noise standard deviation."""

    @abstractmethod
    def d_alpha(self, t: Time) -> Time:
        """d alpha / dt."""

    @abstractmethod
    def d_sigma(self, t: Time) -> Time:
        """d sigma / dt."""

    def time_at(self, alpha: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
        """The time in (0, 1] at which alpha(t) has fallen to `alpha` in [0, 1); the latest where
        that is reached late or never, and 0 or the next number for 1. By bisection, where no
        closed form is at hand."""
        low, high = torch.zeros_like(alpha), torch.ones_like(alpha)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = torch.as_tensor(self.alpha(middle)) > alpha
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return high

    def modules(self) -> Iterable[nn.Module]:
        """None; a schedule with parameters is a module, and has torch's `modules`."""
        return ()

    def log_snr(self, t: Time) -> Time:
        """log(alpha^2 / sigma^2); inf at t = 0, -inf where alpha is 0."""
        return 2 * (log(self.alpha(t)) - log(self.sigma(t)))


@final
@dataclass(frozen=True)
class VPLinear(Schedule):
    """Variance preserving, beta(t) = b0 + t (b1 - b0), log alpha = -t^2 (b1 - b0) / 4 - t b0 / 2
    (Song 2021)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _require(0 <= self.beta_min < self.beta_max, "0 <= beta_min < beta_max", self)

    @property
    def steps(self) -> int | None:
        return None

    def _log_alpha(self, t: Time) -> Time:
        return -t * (t * (self.beta_max - self.beta_min) / 4 + self.beta_min / 2)

    def _half_beta(self, t: Time) -> Time:
        return 0.5 * (self.beta_min + t * (self.beta_max - self.beta_min))

    def alpha(self, t: Time) -> Time:
        return exp(self._log_alpha(t))

    def sigma(self, t: Time) -> Time:
        return sqrt(-expm1(2 * self._log_alpha(t)))

    def d_alpha(self, t: Time) -> Time:
        return -self._half_beta(t) * self.alpha(t)

    def d_sigma(self, t: Time) -> Time:
        return self._half_beta(t) * self.alpha(t) ** 2 / self.sigma(t)


@final
@dataclass(frozen=True)
class SubVP(Schedule):
    """Sub-VP: the mean of `VPLinear`, sigma = 1 - alpha^2 (Song 2021)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _require(0 <= self.beta_min < self.beta_max, "0 <= beta_min < beta_max", self)

    @property
    def steps(self) -> int | None:
        return None

    @cached_property
    def _vp(self) -> VPLinear:
        return VPLinear(self.beta_min, self.beta_max)

    def alpha(self, t: Time) -> Time:
        return self._vp.alpha(t)

    def sigma(self, t: Time) -> Time:
        return -expm1(2 * self._vp._log_alpha(t))

    def d_alpha(self, t: Time) -> Time:
        return self._vp.d_alpha(t)

    def d_sigma(self, t: Time) -> Time:
        return -2 * self.alpha(t) * self.d_alpha(t)


@final
@dataclass(frozen=True)
class VPCosine(Schedule):
    """Variance preserving: (alpha, sigma) = (cos, sin) of an angle linear in t, with
    log SNR(t) = -2 log tan(a t + b) from `log_snr_max` to `log_snr_min` (Salimans & Ho 2022)."""

    log_snr_min: float = -20.0
    log_snr_max: float = 20.0

    def __post_init__(self) -> None:
        _require(self.log_snr_min < self.log_snr_max, "log_snr_min < log_snr_max", self)

    @property
    def steps(self) -> int | None:
        return None

    @cached_property
    def _ends(self) -> tuple[float, float]:
        b = math.atan(math.exp(-0.5 * self.log_snr_max))
        return b, math.atan(math.exp(-0.5 * self.log_snr_min)) - b

    def _angle(self, t: Time) -> Time:
        b, a = self._ends
        return clean_at_zero(t, a * t + b)

    def alpha(self, t: Time) -> Time:
        return cos(self._angle(t))

    def sigma(self, t: Time) -> Time:
        return sin(self._angle(t))

    def d_alpha(self, t: Time) -> Time:
        return -self._ends[1] * self.sigma(t)

    def d_sigma(self, t: Time) -> Time:
        return self._ends[1] * self.alpha(t)


@final
@dataclass(frozen=True)
class VE(Schedule):
    """Variance exploding: alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t (Song 2021)."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        _require(0 < self.sigma_min < self.sigma_max, "0 < sigma_min < sigma_max", self)

    @property
    def steps(self) -> int | None:
        return None

    @cached_property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: Time) -> Time:
        return torch.ones_like(t) if isinstance(t, Tensor) else 1.0

    def sigma(self, t: Time) -> Time:
        return clean_at_zero(t, self.sigma_min * exp(t * self._log_ratio))

    def d_alpha(self, t: Time) -> Time:
        return torch.zeros_like(t) if isinstance(t, Tensor) else 0.0

    def d_sigma(self, t: Time) -> Time:
        return self._log_ratio * self.sigma(t)


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """alpha = 1 - (1 - alpha_1) t, sigma = 1 - alpha.

    With alpha_1 = 0 the straight path of flow matching (Lipman 2023); for categories, the survival
    probability whose discrete rate is 1 / (T - t + 1).
    """

    alpha_1: float = 0.0

    def __post_init__(self) -> None:
        _require(0 <= self.alpha_1 < 1, "0 <= alpha_1 < 1", self)

    @property
    def steps(self) -> int | None:
        return None

    def alpha(self, t: Time) -> Time:
        return 1 - (1 - self.alpha_1) * t

    def time_at(self, alpha: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
        return ((1 - alpha) / (1 - self.alpha_1)).clamp(0, 1)

    def sigma(self, t: Time) -> Time:
        return (1 - self.alpha_1) * t

    def d_alpha(self, t: Time) -> Time:
        return 0 * t - (1 - self.alpha_1)

    def d_sigma(self, t: Time) -> Time:
        return 0 * t + (1 - self.alpha_1)


@final
@dataclass(frozen=True)
class Geometric(Schedule):
    """Geometric VPSDE: sigma^2 = v_min r^t - v_min + v_0 with r = v_max / v_min, and
    alpha^2 = (1 - sigma^2) / (1 - v_0): data of variance 1 - v_0 keeps variance 1 (Vahdat 2021)."""

    v_min: float = 3e-5
    v_max: float = 0.999
    v_0: float = 3e-5

    def __post_init__(self) -> None:
        _require(0 < self.v_min < self.v_max and self.v_0 >= 0, "0 < v_min < v_max, v_0 >= 0", self)
        _require(self.v_max - self.v_min + self.v_0 < 1, "v_max - v_min + v_0 < 1", self)

    @property
    def steps(self) -> int | None:
        return None

    def _growth(self, t: Time) -> Time:
        return self.v_min * expm1(t * math.log(self.v_max / self.v_min))

    def _d_growth(self, t: Time) -> Time:
        log_r = math.log(self.v_max / self.v_min)
        return self.v_min * log_r * exp(t * log_r)

    def alpha(self, t: Time) -> Time:
        return sqrt(1 - self._growth(t) / (1 - self.v_0))

    def sigma(self, t: Time) -> Time:
        return clean_at_zero(t, sqrt(self._growth(t) + self.v_0))

    def d_alpha(self, t: Time) -> Time:
        return -self._d_growth(t) / (2 * (1 - self.v_0) * self.alpha(t))

    def d_sigma(self, t: Time) -> Time:
        return self._d_growth(t) / (2 * self.sigma(t))


@final
@dataclass(frozen=True)
class BetaTable(Schedule):
    """A discrete variance-preserving schedule: alpha_bar_i = prod_{j <= i} (1 - beta_j), i = 0..T.

    Step i is time i / T; between steps log alpha_bar is interpolated linearly.
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(float(b) for b in self.betas))
        _require(
            len(self.betas) > 0 and all(0 < b < 1 for b in self.betas), "every 0 < beta < 1", None
        )

    @cached_property
    def _hash(self) -> int:
        return hash(self.betas)

    def __hash__(self) -> int:
        return self._hash  # of a thousand numbers, asked for by everything that keeps coefficients

    @staticmethod
    def linear(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> BetaTable:
        """beta from `first` to `last` in equal steps (Ho 2020)."""
        return BetaTable(tuple(torch.linspace(first, last, steps, dtype=torch.float64).tolist()))

    @staticmethod
    def quadratic(steps: int = 50, first: float = 1e-4, last: float = 0.5) -> BetaTable:
        """sqrt(beta) in equal steps (Tashiro 2021)."""
        root = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64)
        return BetaTable(tuple((root**2).tolist()))

    @staticmethod
    def survival(betas: Sequence[float]) -> BetaTable:
        """The table whose alpha itself, not its square, is prod_{j <= i} (1 - beta_j).

        alpha is the survival probability of a token, so `Uniform` with this schedule has the steps
        (1 - beta_i) I + beta_i / K (Austin 2021).
        """
        return BetaTable(tuple(beta * (2 - beta) for beta in betas))

    @property
    def steps(self) -> int | None:
        return len(self.betas)

    @cached_property
    def _log_alpha(self) -> list[float]:
        table, total = [0.0], 0.0
        for beta in self.betas:
            total += 0.5 * math.log1p(-beta)
            table.append(total)
        return table

    @cached_property
    def _values(self) -> Tensor:
        return torch.tensor(self._log_alpha, dtype=torch.float64)

    def _at(self, t: Time) -> tuple[Time, Time]:
        """log alpha and its slope in t."""
        table, n = self._log_alpha, len(self.betas)
        if not isinstance(t, Tensor):
            i = min(max(math.ceil(t * n - 1e-9) - 1, 0), n - 1)
            rise = table[i + 1] - table[i]
            return table[i] + rise * (t * n - i), rise * n
        values = self._values.to(t.device)
        left = (torch.ceil(t * n - 1e-9) - 1).clamp(0, n - 1)
        j = left.long()
        slope = values[j + 1] - values[j]
        return values[j] + slope * (t * n - left), slope * n

    @cached_property
    def _steps(self) -> dict[float, tuple[float, float]]:
        """(alpha, sigma) at i / T, where samplers ask again and again."""
        n, logs = len(self.betas), self._log_alpha
        return {i / n: (math.exp(v), math.sqrt(-math.expm1(2 * v))) for i, v in enumerate(logs)}

    def alpha(self, t: Time) -> Time:
        if not isinstance(t, Tensor) and t in self._steps:
            return self._steps[t][0]
        return exp(self._at(t)[0])

    def sigma(self, t: Time) -> Time:
        if not isinstance(t, Tensor) and t in self._steps:
            return self._steps[t][1]
        return sqrt(-expm1(2 * self._at(t)[0]))

    def d_alpha(self, t: Time) -> Time:
        return self._at(t)[1] * self.alpha(t)

    def d_sigma(self, t: Time) -> Time:
        return -self._at(t)[1] * self.alpha(t) ** 2 / self.sigma(t)


def _require(condition: bool, rule: str, value: object) -> None:
    if not condition:
        raise ConfigError("a schedule's parameters contradict each other", value=value, limit=rule)
