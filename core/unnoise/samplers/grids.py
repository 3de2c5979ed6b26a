"""Grids: decreasing float64 times that a sampler walks, values apart from the samplers.

Every function of `NAMED` takes (kernel, steps, start) and returns steps + 1 times, `start` to 0.
`uniform` is what others call trailing; their leading grid does not contain the start and so starts
from a state that is not there. On a kernel of T discrete steps the times are multiples of 1 / T.
`unnoise.samplers.optimised` fits a grid to a denoiser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import torch
from jaxtyping import Float64
from torch import Tensor

from unnoise.errors import IncompatibleSampler, InputError
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.samplers.algebra import FIRST, rho, time_of_rho

MAX_STEPS = 100_000
RHO_MIN: Final = 0.002
"""sigma / alpha at the last positive time, by default (Karras 2022, for data of std 0.5)."""
RHO_MAX: Final = 1000.0
"""Where alpha is 0, levels are spaced as if sigma / alpha were this."""


def uniform(kernel: TransitionKernel, steps: int, start: float = 1.0) -> Float64[Tensor, " times"]:
    """Equal steps from `start` to 0."""
    return _on(kernel, torch.linspace(start, 0, _checked(steps, start) + 1, dtype=torch.float64))


def quadratic(
    kernel: TransitionKernel, steps: int, start: float = 1.0
) -> Float64[Tensor, " times"]:
    """t_i = start (1 - i / steps)^2: short steps near the data (Song 2021, DDIM)."""
    u = torch.linspace(1, 0, _checked(steps, start) + 1, dtype=torch.float64)
    return _on(kernel, start * u**2)


def linspace(kernel: TransitionKernel, steps: int, start: float = 1.0) -> Float64[Tensor, " times"]:
    """Equal steps from `start` to the kernel's first step, 1 / 1000 if it has none, then 0."""
    first = 1 / (kernel.steps or 1000)
    if _checked(steps, start) > 1 and start <= first:
        raise InputError("the run starts at the last time", value=start, limit=f"> {first:g}")
    grid = torch.linspace(start, first, steps, dtype=torch.float64)
    return _on(kernel, torch.cat([grid, grid.new_zeros(1)]))


def karras(
    kernel: TransitionKernel,
    steps: int,
    start: float = 1.0,
    *,
    power: float = 7.0,
    rho_min: float = RHO_MIN,
) -> Float64[Tensor, " times"]:
    """Equal steps in (sigma / alpha)^(1 / power) down to `rho_min`, then 0 (Karras 2022)."""

    def level(a: float, b: float, u: float) -> float:
        return float((a ** (1 / power) + u * (b ** (1 / power) - a ** (1 / power))) ** power)

    return _spaced(kernel, steps, start, rho_min, level)


def log_snr(
    kernel: TransitionKernel, steps: int, start: float = 1.0, *, rho_min: float = RHO_MIN
) -> Float64[Tensor, " times"]:
    """Equal steps in log SNR up to sigma / alpha = `rho_min`, then 0 (Lu 2022)."""
    return _spaced(kernel, steps, start, rho_min, lambda a, b, u: a * (b / a) ** u)


NAMED: Final[Mapping[str, Callable[[TransitionKernel, int, float], Tensor]]] = MappingProxyType(
    {
        "uniform": uniform,
        "quadratic": quadratic,
        "linspace": linspace,
        "karras": karras,
        "log_snr": log_snr,
    }
)


def custom(times: Sequence[float] | Tensor) -> Float64[Tensor, " times"]:
    """Times of your own: within [0, 1], strictly decreasing."""
    grid = torch.as_tensor(times, dtype=torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()):
        raise InputError("a grid is at least two strictly decreasing times", value=list(times)[:5])
    if grid[0] > 1 or grid[-1] < 0:
        raise InputError("times lie in [0, 1]", value=(float(grid[0]), float(grid[-1])))
    return grid


def from_levels(
    schedule: Schedule, values: Sequence[float], start: float = 1.0
) -> Float64[Tensor, " times"]:
    """`start`, the times at which sigma / alpha is each of `values`, and 0."""
    times = [time_of_rho(schedule, value, FIRST, start) for value in values]
    return torch.tensor([start, *times, 0.0], dtype=torch.float64)


def _spaced(
    kernel: TransitionKernel,
    steps: int,
    start: float,
    rho_min: float,
    level: Callable[[float, float, float], float],
) -> Float64[Tensor, " times"]:
    if not isinstance(kernel, GaussianKernel):
        raise IncompatibleSampler(
            "a grid of noise levels needs a GaussianKernel",
            value=type(kernel).__name__,
            fix="use uniform or quadratic",
        )
    _checked(steps, start)
    top = min(rho(kernel.schedule, start), RHO_MAX)
    low = max(rho_min, rho(kernel.schedule, FIRST))
    if not 0 < low < top:
        raise InputError(
            "the last noise level lies above the first", value=rho_min, limit=f"0 to {top:g}"
        )
    fractions = [i / max(steps - 1, 1) for i in range(1, steps)]
    values = [level(top, low, u) for u in fractions]
    return _on(kernel, from_levels(kernel.schedule, values, start))


def _checked(steps: int, start: float) -> int:
    if not 1 <= steps <= MAX_STEPS:
        raise InputError("steps is out of range", value=steps, limit=f"1 to {MAX_STEPS}")
    if not 0 < start <= 1:
        raise InputError("a run starts at a time in (0, 1]", value=start, limit="0 < t <= 1")
    return steps


def _on(kernel: TransitionKernel, grid: Float64[Tensor, " times"]) -> Tensor:
    """The grid on the kernel's own steps, all distinct, when it is discrete."""
    count = kernel.steps
    if count is None:
        return grid
    start, steps = float(grid[0]), len(grid) - 1
    if abs(start * count - round(start * count)) > 1e-6:
        raise InputError(
            "a run starts at one of the kernel's steps",
            value=start,
            limit=f"multiples of 1 / {count}",
        )
    available = round(start * count)
    if steps > available:
        raise InputError(
            f"this kernel has {available} steps from t = {start:g}",
            value=steps,
            limit=f"1 to {available}",
        )
    numbers = [round(t * count) for t in grid.tolist()]
    for i in range(steps - 1, 0, -1):  # where neighbours round to one step, they move up
        numbers[i] = max(numbers[i], numbers[i + 1] + 1)
    for i in range(1, steps):
        numbers[i] = min(numbers[i], numbers[i - 1] - 1)
    return torch.tensor(numbers, dtype=torch.float64) / count
