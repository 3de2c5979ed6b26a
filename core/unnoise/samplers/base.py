"""Samplers: generators that walk a grid of times from noise to data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Distribution
from unnoise.errors import IncompatibleSampler
from unnoise.kernels import TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State


@final
@dataclass(frozen=True, eq=False)
class Step:
    """A state `x` at time `t`, and the prediction of x_0 that led to it."""

    t: float
    x: State
    x0: Distribution


class Sampler(ABC):
    """A way to walk from x_1 to x_0. Frozen: history lives in the generator, so runs never mix.

    Class attributes
    ----------------
    requires : the kernel it runs on.
    evaluations : denoiser calls per step.
    order : of convergence of the deterministic part.
    one_step : whether a step depends on the current state alone, so that jumps are allowed.
    """

    requires: ClassVar[type[TransitionKernel]]
    evaluations: ClassVar[int] = 1
    order: ClassVar[int] = 1
    one_step: ClassVar[bool] = True

    @property
    @abstractmethod
    def stochastic(self) -> bool:
        """Whether steps draw noise."""

    @abstractmethod
    def __call__(
        self,
        denoiser: Denoiser,
        x: State,
        grid: Tensor,
        layout: Layout,
        noise: NoiseSource,
        condition: Condition = None,
    ) -> Generator[Step, State | None, None]:
        """Yield one Step per interval of `grid` (decreasing times, from that of `x` on).

        A state sent back into the generator replaces the one it yielded: that is how known parts
        are put in.
        """

    def check(self, kernel: TransitionKernel) -> None:
        """Raise IncompatibleSampler unless this sampler runs on `kernel`."""
        if not isinstance(kernel, self.requires):
            fitting = [c.__name__ for c in Sampler.__subclasses__() if isinstance(kernel, c.requires)]
            raise IncompatibleSampler(
                f"{type(self).__name__} needs a {self.requires.__name__}",
                value=type(kernel).__name__,
                fix=f"samplers for this kernel: {', '.join(sorted(fitting))}",
            )


def intervals(grid: Tensor) -> Iterator[tuple[float, float]]:
    """The pairs (t, s) of neighbouring times, t > s, as floats."""
    times = grid.tolist()
    return zip(times[:-1], times[1:], strict=True)
