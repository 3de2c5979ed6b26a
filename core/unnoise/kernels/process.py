"""Processes: what destroys data, one step at a time.

A process is a Markov chain on a space, clean at time 0 and without memory of the data at time 1:

    x_0 ~ data,    x_t ~ q(x_t | x_s)  for 0 <= s < t <= 1,    x_1 ~ prior.

Where q(x_t | x_0) has a closed form as well it is a `TransitionKernel`. A forward drift that is
learned has none (Zhang & Chen 2021, DiffFlow): its states are drawn by walking.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from unnoise.distributions import Distribution
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Layout, State, Time


class Process(ABC):
    """A Markov process that destroys data: q(x_t | x_s) for 0 <= s < t <= 1, clean at 0.

    Times are a float shared by the batch, or a float64 tensor (B,). Times out of order or outside
    [0, 1] are an InputError.
    """

    if TYPE_CHECKING:  # a property or a field: a dataclass cannot override an abstract property

        @property
        def space(self) -> DataSpace:
            """Where the states live."""

    @property
    @abstractmethod
    def steps(self) -> int | None:
        """T when the process is given at times i / T, else None."""

    @abstractmethod
    def transition(self, x_s: State, s: Time, t: Time, layout: Layout) -> Distribution:
        """q(x_t | x_s) for s < t."""

    @abstractmethod
    def prior(self, layout: Layout) -> Distribution:
        """q(x_1), independent of the data."""

    def modules(self) -> Iterable[nn.Module]:
        """The networks and learned schedules that are its own; of those inside one another the
        outermost is enough. None by default. A denoiser trains and saves them with itself."""
        return ()

    def simulate(
        self,
        x: State,
        times: Sequence[float] | Float64[Tensor, " times"],
        layout: Layout,
        noise: NoiseSource,
    ) -> Iterator[State]:
        """A path that starts at `x`: one draw of `transition` per interval of `times`.

        Parameters
        ----------
        x : the state at times[0]; clean data where that is 0.
        times : two or more, strictly increasing, from 0 to 1. For a discrete process i / T.

        Returns
        -------
        The states at times[1], times[2], ..., drawn when asked for.

        Raises
        ------
        InputError : the times are no such path.
        """
        path = [float(t) for t in times]
        rising = all(s < t for s, t in pairwise(path))
        if len(path) < 2 or not rising or path[0] < 0 or path[-1] > 1:
            raise InputError(
                "a path has two increasing times or more",
                value=path[:5],
                limit="0 <= s < t <= 1",
                fix="sampling grids decrease: reverse them",
            )
        return self._walk(x, path, layout, noise)

    def _walk(
        self, x: State, path: list[float], layout: Layout, noise: NoiseSource
    ) -> Iterator[State]:
        for s, t in pairwise(path):
            x = self.transition(x, s, t, layout).sample(noise)
            yield x


def check_time(t: Time) -> None:
    """InputError unless 0 <= t <= 1."""
    if not (bool(((t >= 0) & (t <= 1)).all()) if isinstance(t, Tensor) else 0 <= t <= 1):
        raise InputError("a time outside [0, 1]", value=t, limit="0 <= t <= 1")


def check_times(s: Time, t: Time) -> None:
    """InputError unless 0 <= s < t <= 1."""
    if isinstance(s, Tensor) or isinstance(t, Tensor):
        ordered = bool(torch.as_tensor((s >= 0) & (s < t) & (t <= 1)).all())
    else:
        ordered = 0 <= s < t <= 1
    if not ordered:
        raise InputError("times out of order", value=(s, t), limit="0 <= s < t <= 1")


def training_times(process: Process, u: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
    """Times in (0, 1] for uniform numbers u (B,) in [0, 1); on i / T, i = 1 .. T, when discrete."""
    t = 1 - u
    return t if process.steps is None else torch.ceil(t * process.steps) / process.steps
