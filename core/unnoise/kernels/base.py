"""Transition kernels: the four lines that everything rests on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unnoise.distributions import Distribution
from unnoise.spaces import DataSpace, Layout, State, Time


class TransitionKernel(ABC):
    """A Markov process that destroys data: q(x_t | x_s) for 0 <= s < t <= 1, clean at 0.

    Times are a float shared by the batch, or a float64 tensor (B,).
    """

    if TYPE_CHECKING:  # a property or a field: a dataclass cannot override an abstract property

        @property
        def space(self) -> DataSpace:
            """Where the states live."""

    @property
    @abstractmethod
    def steps(self) -> int | None:
        """T when the process is only defined at times i / T, else None."""

    @abstractmethod
    def marginal(self, x0: State, t: Time, layout: Layout) -> Distribution:
        """q(x_t | x_0)."""

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
    def reconstruction(
        self, x_t: State, x0: Distribution, t: Time, layout: Layout
    ) -> Distribution:
        """p(x_0 | x_t) with a density: the last term of the variational bound."""


def training_times(kernel: TransitionKernel, u: Tensor) -> Tensor:
    """Times in (0, 1] for uniform numbers u (B,) in [0, 1); on i / T, i = 1 .. T, when discrete."""
    t = 1 - u
    return t if kernel.steps is None else torch.ceil(t * kernel.steps) / kernel.steps
