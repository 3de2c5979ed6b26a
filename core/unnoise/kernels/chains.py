"""Chains of a few large steps along a schedule.

With abar = alpha^2 at t_i = eps + (1 - eps) i / T, the chain

    beta_i = 1 - abar(t_i) / abar(t_{i-1}),    i = 1 .. T,

begins with the data at t_0 = eps (Xiao 2022, denoising diffusion GANs).
"""

from __future__ import annotations

from itertools import pairwise

import torch

from unnoise.errors import ConfigError
from unnoise.kernels.schedules import BetaTable, Schedule, VPLinear


def coarse(steps: int, schedule: Schedule | None = None, eps: float = 1e-3) -> BetaTable:
    """The chain of `steps` equal steps along `schedule`, variance preserving, by default
    `VPLinear()`.

    Raises
    ------
    ConfigError : no steps, eps outside [0, 1), or a schedule that does not preserve the variance.
    """
    schedule = VPLinear() if schedule is None else schedule
    if steps < 1 or not 0 <= eps < 1:
        raise ConfigError(
            "a chain has steps, and begins at a small time",
            value=(steps, eps),
            limit="steps >= 1, 0 <= eps < 1",
        )
    t = eps + (1 - eps) * torch.arange(steps + 1, dtype=torch.float64) / steps
    kept = torch.as_tensor(schedule.alpha(t)) ** 2
    if not torch.allclose(kept + torch.as_tensor(schedule.sigma(t)) ** 2, torch.ones_like(kept)):
        raise ConfigError("a table of betas preserves the variance", value=type(schedule).__name__)
    return BetaTable(tuple(1 - b / a for a, b in pairwise(kept.tolist())))
