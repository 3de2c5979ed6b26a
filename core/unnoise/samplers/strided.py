"""The grids of diffusers' schedulers, for models that were made to be run on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch

from unnoise.errors import ConfigError, IncompatibleSampler, InputError
from unnoise.kernels import TransitionKernel
from unnoise.samplers.base import Times
from unnoise.samplers.grids import Grid, checked


@final
@dataclass(frozen=True)
class Strided(Grid):
    """Numbers of a discrete kernel's T steps as diffusers spaces them, then step `end` (0 or 1):

        leading    n (T // steps) + offset + 1,  n = steps - 1 .. 0
        trailing   round(T - n T / steps)
        linspace   round(1 + n (T - 1) / (steps - 1))

    A leading grid begins below t = 1, and a run on it there with the prior's noise; of a run that
    begins elsewhere the times below its start are left, behind the start.
    """

    spacing: Literal["leading", "trailing", "linspace"] = "leading"
    offset: int = 0
    end: int = 0

    def __post_init__(self) -> None:
        if self.spacing not in ("leading", "trailing", "linspace"):
            raise ConfigError("unknown spacing", value=self.spacing)
        if self.offset < 0 or self.end not in (0, 1):
            raise ConfigError(
                "a grid's steps are numbers of the kernel's",
                value=(self.offset, self.end),
                limit="offset >= 0, end 0 or 1",
            )

    def begin(self, kernel: TransitionKernel, steps: int | None = None) -> float:
        count = self._count(kernel)
        return self._numbers(count, checked(steps, 1.0))[0] / count

    def times(
        self, kernel: TransitionKernel, steps: int | None = None, start: float = 1.0
    ) -> Times:
        count = self._count(kernel)
        numbers = self._numbers(count, checked(steps, start))
        below = [n / count for n in (*numbers, self.end) if n >= self.end]
        times = [start, *dict.fromkeys(t for t in below if t < start)]
        if len(times) < 2:
            raise InputError("the grid ends before the run starts", value=below[-1], limit=start)
        return torch.tensor(times, dtype=torch.float64)

    def _count(self, kernel: TransitionKernel) -> int:
        if kernel.steps is None:
            raise IncompatibleSampler(
                "a strided grid needs a kernel of discrete steps",
                value=type(kernel).__name__,
                fix="use uniform",
            )
        return kernel.steps

    def _numbers(self, count: int, steps: int) -> list[int]:
        if steps > count:
            raise InputError("this kernel has fewer steps", value=steps, limit=f"1 to {count}")
        if self.spacing == "trailing":
            return [round(count - n * count / steps) for n in range(steps)]
        if self.spacing == "linspace":
            span = (count - 1) / max(steps - 1, 1)
            return [round(1 + n * span) for n in reversed(range(steps))]
        stride = count // steps
        first = (steps - 1) * stride + self.offset + 1
        if first > count:
            raise InputError(
                "the offset leads beyond the kernel's last step",
                value=self.offset,
                limit=f"0 to {count - 1 - (steps - 1) * stride} at {steps} steps",
            )
        return [first - n * stride for n in range(steps)]
