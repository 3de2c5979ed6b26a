"""Grids: decreasing float64 times that a sampler walks, values apart from the samplers.

A `Grid` says where the times lie; its `times` are those for a kernel, a number of steps and a
start, from `start` to 0. With u_i = 1 - i / steps and rho = sigma / alpha:

    uniform     t_i = start u_i
    quadratic   t_i = start u_i^2                                                 (Song 2021, DDIM)
    linspace    equal steps from start to the kernel's first step, then 0
    karras      equal steps in rho^(1 / power) down to rho_min, then 0            (Karras 2022)
    log-snr     equal steps in log SNR up to rho = rho_min, then 0                (Lu 2022)

`uniform` is what others call trailing; their leading grid does not contain the start and so starts
from a state that is not there (`unnoise.samplers.strided`, for models that are run like that). On a
kernel of T discrete steps the times of these five are multiples of 1 / T. `Custom` are times of
your own, `Fitted` those that `unnoise.samplers.optimised` finds for a denoiser.
"""

from __future__ import annotations

import hashlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, final

import torch
from torch import Tensor

from unnoise.denoise import Denoiser
from unnoise.errors import ConfigError, IncompatibleSampler, InputError, nearest
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.samplers.algebra import FIRST, RHO_MAX, rho, time_of_rho
from unnoise.samplers.base import Times

MAX_STEPS = 100_000
RHO_MIN: Final = 0.002
"""sigma / alpha at the last positive time, by default (Karras 2022, for data of std 0.5)."""


class Grid(ABC):
    """Where the times of a run lie: a frozen value."""

    @property
    def steps(self) -> int | None:
        """The number of steps that it has of its own, if it has one."""
        return None

    @abstractmethod
    def times(
        self, kernel: TransitionKernel, steps: int | None = None, start: float = 1.0
    ) -> Times:
        """Strictly decreasing times from `start` to 0: steps + 1 of them.

        `steps` may be left out for a grid that has a number of its own.

        Raises
        ------
        InputError : no such number of steps or start, for this kernel or this grid.
        IncompatibleSampler : the grid does not fit the kernel.
        """

    def begin(self, kernel: TransitionKernel, steps: int | None = None) -> float:
        """The time at which a run begins that is given no state to start from."""
        return 1.0

    @property
    def owner(self) -> str | None:
        """The `fingerprint` of the denoiser that it belongs to, if it belongs to one."""
        return None

    def check(self, denoiser: Denoiser) -> None:
        """Raise InputError when the grid belongs to another denoiser."""
        if self.owner is not None and fingerprint(denoiser) != self.owner:
            raise InputError(
                "this grid was fitted to another denoiser",
                value=type(denoiser).__name__,
                fix="fit one with optimised(), or pass Custom(grid.values)",
            )

    def __call__(
        self, kernel: TransitionKernel, steps: int | None = None, start: float = 1.0
    ) -> Times:
        """`times`."""
        return self.times(kernel, steps, start)


@final
@dataclass(frozen=True)
class Uniform(Grid):
    """Equal steps from `start` to 0."""

    def times(
        self, kernel: TransitionKernel, steps: int | None = None, start: float = 1.0
    ) -> Times:
        n = checked(steps, start)
        return _on(kernel, torch.linspace(start, 0, n + 1, dtype=torch.float64))


@final
@dataclass(frozen=True)
class Quadratic(Grid):
    """t_i = start (1 - i / steps)^2: short steps near the data (Song 2021, DDIM)."""

    def times(
        self, kernel: TransitionKernel, steps: int | None = None, start: float = 1.0
    ) -> Times:
        u = torch.linspace(1, 0, checked(steps, start) + 1, dtype=torch.float64)
        return _on(kernel, start * u**2)


@final
@dataclass(frozen=True)
class Linspace(Grid):
    """Equal steps from `start` to the kernel's first step, 1 / 1000 if it has none, then 0."""

    def times(
        self, kernel: TransitionKernel, steps: int | None = None, start: float = 1.0
    ) -> Times:
        n, first = checked(steps, start), 1 / (kernel.steps or 1000)
        if n > 1 and start <= first:
            raise InputError("the run starts at the last time", value=start, limit=f"> {first:g}")
        grid = torch.linspace(start, first, n, dtype=torch.float64)
        return _on(kernel, torch.cat([grid, grid.new_zeros(1)]))


def _check_last(rho: float) -> None:
    if not 0 < rho < math.inf:
        raise ConfigError("the last noise level is positive", value=rho, limit="rho_min > 0")


@final
@dataclass(frozen=True)
class Karras(Grid):
    """Equal steps in (sigma / alpha)^(1 / power) down to `rho_min`, then 0 (Karras 2022)."""

    power: float = 7.0
    rho_min: float = RHO_MIN

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise ConfigError("the power is positive", value=self.power, limit="> 0")
        _check_last(self.rho_min)

    def times(
        self, kernel: TransitionKernel, steps: int | None = None, start: float = 1.0
    ) -> Times:
        power = self.power

        def level(a: float, b: float, u: float) -> float:
            return float((a ** (1 / power) + u * (b ** (1 / power) - a ** (1 / power))) ** power)

        return _spaced(kernel, checked(steps, start), start, self.rho_min, level)


@final
@dataclass(frozen=True)
class LogSNR(Grid):
    """Equal steps in log SNR up to sigma / alpha = `rho_min`, then 0 (Lu 2022)."""

    rho_min: float = RHO_MIN

    def __post_init__(self) -> None:
        _check_last(self.rho_min)

    def times(
        self, kernel: TransitionKernel, steps: int | None = None, start: float = 1.0
    ) -> Times:
        n = checked(steps, start)
        return _spaced(kernel, n, start, self.rho_min, lambda a, b, u: a * (b / a) ** u)


@final
@dataclass(frozen=True)
class Custom(Grid):
    """Times of your own: within [0, 1], strictly decreasing. Of a run that starts later, those
    below its start are left, behind the start."""

    values: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(custom(self.values).tolist()))

    @property
    def steps(self) -> int:
        return len(self.values) - 1

    def times(
        self, kernel: TransitionKernel, steps: int | None = None, start: float = 1.0
    ) -> Times:
        return _below(self, self.values, steps, start)


@final
@dataclass(frozen=True)
class Fitted(Grid):
    """Times that were fitted to a denoiser, see `unnoise.samplers.optimised`, cut as `Custom`.

    Attributes
    ----------
    values : the times.
    denoiser : the `fingerprint` of the denoiser that they belong to. They are refused for another;
        `Custom(fitted.values)` belongs to none.
    """

    values: tuple[float, ...]
    denoiser: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(custom(self.values).tolist()))

    @property
    def steps(self) -> int:
        return len(self.values) - 1

    def times(
        self, kernel: TransitionKernel, steps: int | None = None, start: float = 1.0
    ) -> Times:
        return _below(self, self.values, steps, start)

    @property
    def owner(self) -> str:
        return self.denoiser


uniform: Final = Uniform()
quadratic: Final = Quadratic()
linspace: Final = Linspace()
karras: Final = Karras()
log_snr: Final = LogSNR()

NAMED: Final[Mapping[str, Grid]] = MappingProxyType(
    {
        "uniform": uniform,
        "quadratic": quadratic,
        "linspace": linspace,
        "karras": karras,
        "log-snr": log_snr,
    }
)


def named(name: str) -> Grid:
    """The grid of this name, which is compared as names of plugins are: log_snr is log-snr."""
    found = NAMED.get(re.sub(r"[-_.]+", "-", name).lower())
    if found is None:
        raise InputError(f"unknown grid {name!r}", limit=", ".join(NAMED), fix=nearest(name, NAMED))
    return found


def custom(times: Sequence[float] | Tensor) -> Times:
    """Times of your own as a tensor: within [0, 1], strictly decreasing."""
    grid = torch.as_tensor(times, dtype=torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()):
        raise InputError("a grid is at least two strictly decreasing times", value=list(times)[:5])
    if grid[0] > 1 or grid[-1] < 0:
        raise InputError("times lie in [0, 1]", value=(float(grid[0]), float(grid[-1])))
    return grid


def fingerprint(denoiser: Denoiser) -> str:
    """What tells denoisers apart: their modules' classes, and the names, shapes and up to 64 spread
    entries of their weights. Quick for large networks, and the same on every device."""
    digest = hashlib.sha256()
    for name, module in denoiser.named_modules():
        digest.update(f"{name}: {type(module).__qualname__}\n".encode())
    for name, value in denoiser.state_dict().items():
        flat = value.detach().flatten()
        some = flat[:: max(1, len(flat) // 64)][:64].cpu()
        digest.update(f"{name} {tuple(value.shape)} {some.tolist()}\n".encode())
    return digest.hexdigest()


def time_at(kernel: GaussianKernel, level: float) -> float:
    """The time at which sigma / alpha is `level`; one of the kernel's steps if it has any.

    Raises InputError when the process has no such level.
    """
    schedule = kernel.schedule
    low, high = rho(schedule, FIRST), rho(schedule, 1.0)
    if not low <= level <= high:
        raise InputError(
            "the process has no such noise level", value=level, limit=f"{low:g} to {high:g}"
        )
    t = time_of_rho(schedule, level, FIRST, 1.0)
    return t if kernel.steps is None else max(1, round(t * kernel.steps)) / kernel.steps


def from_levels(schedule: Schedule, values: Sequence[float], start: float = 1.0) -> Times:
    """`start`, the times at which sigma / alpha is each of `values`, and 0."""
    times = [time_of_rho(schedule, value, FIRST, start) for value in values]
    return torch.tensor([start, *times, 0.0], dtype=torch.float64)


def _spaced(
    kernel: TransitionKernel,
    steps: int,
    start: float,
    rho_min: float,
    level: Callable[[float, float, float], float],
) -> Times:
    if not isinstance(kernel, GaussianKernel):
        raise IncompatibleSampler(
            "a grid of noise levels needs a GaussianKernel",
            value=type(kernel).__name__,
            fix="use uniform or quadratic",
        )
    top = min(rho(kernel.schedule, start), RHO_MAX)
    low = max(rho_min, rho(kernel.schedule, FIRST))
    if not 0 < low < top:
        raise InputError(
            "the last noise level lies above the first", value=rho_min, limit=f"0 to {top:g}"
        )
    fractions = [i / max(steps - 1, 1) for i in range(1, steps)]
    values = [level(top, low, u) for u in fractions]
    return _on(kernel, from_levels(kernel.schedule, values, start))


def _below(grid: Grid, values: Sequence[float], steps: int | None, start: float) -> Times:
    """`start` and the times below it."""
    if steps is not None and steps != grid.steps:
        raise InputError("this grid has steps of its own", value=steps, limit=grid.steps)
    checked(1, start)
    if values[0] < start:
        raise InputError("the grid must begin where the run starts", value=values[0], limit=start)
    below = [t for t in values if t < start]
    if not below:
        raise InputError("the grid ends before the run starts", value=values[-1], limit=start)
    return torch.tensor([start, *below], dtype=torch.float64)


def checked(steps: int | None, start: float) -> int:
    """The number of steps. Raises InputError for none, too many, or a start outside (0, 1]."""
    if steps is None:
        raise InputError("this grid needs a number of steps", fix="pass steps")
    if not 1 <= steps <= MAX_STEPS:
        raise InputError("steps is out of range", value=steps, limit=f"1 to {MAX_STEPS}")
    if not 0 < start <= 1:
        raise InputError("a run starts at a time in (0, 1]", value=start, limit="0 < t <= 1")
    return steps


def _on(kernel: TransitionKernel, grid: Times) -> Times:
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
