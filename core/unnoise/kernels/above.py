"""A schedule that starts from its own least noise.

A schedule with a floor keeps (alpha_0, sigma_0), its limit at t = 0, at all small times. Of states
that have this much noise already,

    z_0 = alpha_0 mu + sigma_0 eps,    z_t | z_0 ~ N(alpha z_0, sigma^2),
    alpha = alpha_t / alpha_0,         sigma^2 = sigma_t^2 - alpha^2 sigma_0^2,

is a schedule like any other, clean at time 0, and z_t | mu ~ N(alpha_t mu, sigma_t^2) is what it
was. Where alpha_t^2 + sigma_t^2 = 1, so is alpha^2 + sigma^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, final

import torch
from torch import Tensor

from unnoise.errors import ConfigError
from unnoise.kernels.elementary import clean_at_zero
from unnoise.kernels.schedules import Schedule
from unnoise.spaces import Time

_SMALLEST = 1e-300  # a time above 0 that no schedule can tell from it


class Least(NamedTuple):
    """z_0 = alpha mu + sigma eps."""

    alpha: float
    sigma: float


def least(schedule: Schedule) -> Least:
    """The least noise of a schedule, its limit at t = 0. ConfigError where there is none."""
    found = Least(float(schedule.alpha(_SMALLEST)), float(schedule.sigma(_SMALLEST)))
    if not found.sigma > 1e-6:
        raise ConfigError(
            "this schedule has no least noise: it starts from the data themselves",
            value=f"sigma = {found.sigma:.3g} at t -> 0 of {type(schedule).__name__}",
            limit="> 1e-6",
            fix="for example VPCosine(log_snr_max=5)",
        )
    return found


@final
@dataclass(frozen=True)
class Above(Schedule):
    """What `schedule` does to states that have its least noise.

    Raises
    ------
    ConfigError : it has none, or is a table or learned.
    """

    schedule: Schedule

    def __post_init__(self) -> None:
        if self.schedule.steps is not None or any(True for _ in self.schedule.modules()):
            raise ConfigError(
                "only a fixed schedule with a continuous clock has one above its least noise",
                value=type(self.schedule).__name__,
            )
        least(self.schedule)

    @property
    def steps(self) -> int | None:
        return None

    @cached_property
    def start(self) -> Least:
        """The least noise itself."""
        return least(self.schedule)

    def alpha(self, t: Time) -> Time:
        value = self._ratio(t)
        if isinstance(t, Tensor):
            return torch.where(t == 0, 1.0, torch.as_tensor(value))
        return 1.0 if t == 0 else value

    def sigma(self, t: Time) -> Time:
        variance = self.schedule.sigma(t) ** 2 - (self._ratio(t) * self.start.sigma) ** 2
        if isinstance(variance, Tensor):
            return clean_at_zero(t, variance.clamp(min=0).sqrt())
        return clean_at_zero(t, max(variance, 0.0) ** 0.5)

    def d_alpha(self, t: Time) -> Time:
        return self.schedule.d_alpha(t) / self.start.alpha

    def d_sigma(self, t: Time) -> Time:
        own = self.schedule.sigma(t) * self.schedule.d_sigma(t)
        return (own - self._ratio(t) * self.d_alpha(t) * self.start.sigma**2) / self.sigma(t)

    def _ratio(self, t: Time) -> Time:
        """alpha_t / alpha_0."""
        return self.schedule.alpha(t) / self.start.alpha
