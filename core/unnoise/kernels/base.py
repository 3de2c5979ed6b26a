"""Transition kernels: the four lines that everything rests on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float64
from torch import Tensor

from unnoise.distributions import Distribution
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Layout, State, Time


class TransitionKernel(ABC):
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
    def marginal(self, x0: State, t: Time, layout: Layout) -> Distribution:
        """q(x_t | x_0)."""

    def noisy(self, x0: State, t: Time, layout: Layout, noise: NoiseSource) -> State:
        """One draw of x_t: `marginal(x0, t, layout).sample(noise)`, by a shorter way if any."""
        return self.marginal(x0, t, layout).sample(noise)

    @abstractmethod
    def transition(self, x_s: State, s: Time, t: Time, layout: Layout) -> Distribution:
        """q(x_t | x_s) for s < t."""

    @abstractmethod
    def reverse(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout
    ) -> Distribution:
        """E over x0 of q(x_s | x_t, x_0) for s < t: Bayes' posterior integrated over `x0`."""

    @abstractmethod
    def prior(self, layout: Layout) -> Distribution:
        """q(x_1), independent of the data."""

    @abstractmethod
    def reconstruction(self, x_t: State, x0: Distribution, t: Time, layout: Layout) -> Distribution:
        """p(x_0 | x_t) with a density: the last term of the variational bound."""


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


def training_times(
    kernel: TransitionKernel, u: Float64[Tensor, " batch"]
) -> Float64[Tensor, " batch"]:
    """Times in (0, 1] for uniform numbers u (B,) in [0, 1); on i / T, i = 1 .. T, when discrete."""
    t = 1 - u
    return t if kernel.steps is None else torch.ceil(t * kernel.steps) / kernel.steps
