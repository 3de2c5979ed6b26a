"""Strength: how much noise is put on a clean state before it is walked back, whatever the schedule.

A clean state x_0 becomes alpha x_0 + sigma eps, and what tells one schedule from another is
rho = sigma / alpha alone. The strength s is the sigma of the variance-preserving state with that
rho,

    rho = s / sqrt(1 - s^2),        s = rho / sqrt(1 + rho^2),

in units of the model's state: 0 adds nothing, 1 leaves nothing. DiffPure's t* = 0.1 of the linear
schedule is s = 0.32205, which is t = 0.20873 of the cosine one: names of times are not comparable,
strengths are.
"""

from __future__ import annotations

import math

from unnoise.errors import InputError
from unnoise.kernels import GaussianKernel
from unnoise.samplers.algebra import FIRST, rho
from unnoise.samplers.grids import time_at


def level_of(strength: float) -> float:
    """sigma / alpha at a strength in (0, 1)."""
    return strength / math.sqrt((1 - strength) * (1 + strength))


def strength_of(level: float) -> float:
    """The strength at sigma / alpha."""
    return level / math.hypot(1.0, level) if math.isfinite(level) else 1.0


def limits(kernel: GaussianKernel) -> tuple[float, float]:
    """The least and the largest strength of a process: its schedule's floor, and its end."""
    first = FIRST if kernel.steps is None else 1 / kernel.steps
    low = strength_of(rho(kernel.schedule, first))
    return low, strength_of(rho(kernel.schedule, 1.0))


def time_of_strength(kernel: GaussianKernel, strength: float) -> float:
    """The time t* of the process at a strength; one of the kernel's steps if it has any.

    Raises InputError for a strength that the process does not have.
    """
    low, high = limits(kernel)
    if not low <= strength <= high or strength >= 1:
        raise InputError(
            "the strength is out of range, there is no such noise level",
            value=strength,
            limit=f"{low:.2g} to {min(high, 1.0):.6g}, below 1, for this model's schedule",
        )
    return time_at(kernel, level_of(strength))


def strength_at(kernel: GaussianKernel, t: float) -> float:
    """The strength at a time of the process."""
    return strength_of(rho(kernel.schedule, t))
