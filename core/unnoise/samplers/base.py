"""Samplers: generators that walk a grid of times from noise to data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, final

from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Distribution
from unnoise.errors import IncompatibleSampler, InputError
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

    Attributes
    ----------
    requires : the kernel it runs on.
    evaluations : denoiser calls per step, once it is under way; 0 when it decides for itself.
    order : of convergence of the deterministic part on the probability-flow ODE.
    one_step : whether a step depends on the current state alone, so that jumps are allowed.
    """

    requires: ClassVar[type]

    if TYPE_CHECKING:  # class attributes, or fields of a sampler with several variants

        @property
        def evaluations(self) -> int: ...

        @property
        def order(self) -> int: ...

        @property
        def one_step(self) -> bool: ...

    else:
        evaluations = 1
        order = 1
        one_step = True

    @property
    @abstractmethod
    def stochastic(self) -> bool:
        """Whether steps draw noise."""

    @abstractmethod
    def __call__(
        self,
        denoiser: Denoiser,
        x: State,
        grid: Float64[Tensor, " times"],
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
            fitting = (c for c in Sampler.__subclasses__() if isinstance(kernel, c.requires))
            names = ", ".join(sorted(c.__name__ for c in fitting))
            raise IncompatibleSampler(
                f"{type(self).__name__} needs a {self.requires.__name__}",
                value=type(kernel).__name__,
                fix=f"samplers for this kernel: {names}",
            )


def intervals(grid: Float64[Tensor, " times"]) -> Iterator[tuple[float, float]]:
    """The pairs (t, s) of neighbouring times, t > s, as floats."""
    times = grid.tolist()
    if len(times) < 2 or any(t <= s for t, s in pairwise(times)):
        raise InputError("a grid is at least two strictly decreasing times", value=times[:5])
    return pairwise(times)
