"""Grids: decreasing float64 times that a sampler walks, values apart from the samplers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unnoise.errors import InputError
from unnoise.kernels import TransitionKernel

MAX_STEPS = 100_000


def uniform(kernel: TransitionKernel, steps: int, start: float = 1.0) -> Tensor:
    """(steps + 1,) equal steps from `start` to 0; on the kernel's own steps when it is discrete."""
    if not 1 <= steps <= MAX_STEPS:
        raise InputError("steps is out of range", value=steps, limit=f"1 to {MAX_STEPS}")
    if not 0 < start <= 1:
        raise InputError("a run starts at a time in (0, 1]", value=start, limit="0 < t <= 1")
    grid = torch.linspace(start, 0, steps + 1, dtype=torch.float64)
    if kernel.steps is None:
        return grid
    available = round(start * kernel.steps)
    if steps > available:
        raise InputError(
            f"this kernel has {available} steps from t = {start:g}",
            value=steps,
            limit=f"1 to {available}",
        )
    return torch.round(grid * kernel.steps) / kernel.steps


def custom(times: Sequence[float] | Tensor) -> Tensor:
    """Times of your own: within [0, 1], strictly decreasing."""
    grid = torch.as_tensor(times, dtype=torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()):
        raise InputError("a grid is at least two strictly decreasing times", value=list(times)[:5])
    if grid[0] > 1 or grid[-1] < 0:
        raise InputError("times lie in [0, 1]", value=(float(grid[0]), float(grid[-1])))
    return grid
