"""Schedules that are given by alpha alone, the probability that a token survives:

alpha_t = q(no jump before t | x_0),    sigma_t = 1 - alpha_t,    rate(t) = -alpha'_t / alpha_t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unnoise.errors import ConfigError
from unnoise.kernels.schedules import Schedule
from unnoise.spaces import Time


class Survival(Schedule):
    """sigma = 1 - alpha."""

    def sigma(self, t: Time) -> Time:
        return 1 - self.alpha(t)

    def d_sigma(self, t: Time) -> Time:
        return -self.d_alpha(t)


@final
@dataclass(frozen=True)
class CosineSurvival(Survival):
    """alpha = alpha_1 + (1 - alpha_1) cos(pi t / 2): the cosine unsquared (Austin 2021)."""

    alpha_1: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha_1 < 1:
            raise ConfigError("survival at time 1", value=self.alpha_1, limit="0 <= alpha_1 < 1")

    @property
    def steps(self) -> int | None:
        return None

    def alpha(self, t: Time) -> Time:
        if isinstance(t, Tensor):
            # the cosine of a rounded pi / 2 is not quite 0
            cosine = torch.where(t == 1, 0.0, torch.cos(0.5 * math.pi * t))
            return self.alpha_1 + (1 - self.alpha_1) * cosine
        return self.alpha_1 + (1 - self.alpha_1) * (0.0 if t == 1 else math.cos(0.5 * math.pi * t))

    def time_at(self, alpha: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
        cosine = (alpha - self.alpha_1) / (1 - self.alpha_1)
        return torch.acos(cosine.clamp(0, 1)) * (2 / math.pi)

    def d_alpha(self, t: Time) -> Time:
        slope = -0.5 * math.pi * (1 - self.alpha_1)
        if isinstance(t, Tensor):
            return slope * torch.sin(0.5 * math.pi * t)
        return slope * math.sin(0.5 * math.pi * t)


@final
@dataclass(frozen=True)
class SurvivalTable(Survival):
    """alpha at i / n, i = 0 .. n, linear between them.

    Parameters
    ----------
    values : alpha_0 = 1 > .. > alpha_n >= 0.
    discrete : whether these are the only times of the process, so that T is n.
    """

    values: tuple[float, ...]
    discrete: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(float(v) for v in self.values))
        v = self.values
        falling = all(a > b for a, b in pairwise(v))
        if len(v) < 2 or v[0] != 1 or not v[-1] >= 0 or not falling:
            raise ConfigError("a table of survival falls from 1 to 0 or more", value=v[:4])

    @staticmethod
    def of(schedule: Schedule, times: Sequence[float], discrete: bool = True) -> SurvivalTable:
        """Another schedule's alpha at `times`, from 0 to 1, which become i / n."""
        return SurvivalTable(tuple(float(schedule.alpha(t)) for t in times), discrete)

    @property
    def steps(self) -> int | None:
        return len(self.values) - 1 if self.discrete else None

    @cached_property
    def _values(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)

    def alpha(self, t: Time) -> Time:
        n = len(self.values) - 1
        if not isinstance(t, Tensor):
            i = min(max(math.ceil(t * n - 1e-9) - 1, 0), n - 1)
            a, b = self.values[i], self.values[i + 1]
            at = min(max(t * n - i, 0.0), 1.0)
            return b if abs(at - 1) < 1e-9 else a + (b - a) * at
        v = self._values.to(t.device)
        left = (torch.ceil(t * n - 1e-9) - 1).clamp(0, n - 1)
        j, share = left.long(), (t * n - left).clamp(0, 1)
        return torch.where((share - 1).abs() < 1e-9, v[j + 1], v[j] + (v[j + 1] - v[j]) * share)

    def time_at(self, alpha: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
        n, v = len(self.values) - 1, self._values.to(alpha.device)
        j = torch.searchsorted(v.flip(0), alpha.contiguous()).neg().add(n).clamp(0, n - 1)
        share = ((v[j] - alpha) / (v[j] - v[j + 1])).clamp(0, 1)
        return (j + share) / n

    def d_alpha(self, t: Time) -> Time:
        n = len(self.values) - 1
        if not isinstance(t, Tensor):
            i = min(max(math.ceil(t * n - 1e-9) - 1, 0), n - 1)
            return (self.values[i + 1] - self.values[i]) * n
        v = self._values.to(t.device)
        j = (torch.ceil(t * n - 1e-9) - 1).clamp(0, n - 1).long()
        return (v[j + 1] - v[j]) * n
