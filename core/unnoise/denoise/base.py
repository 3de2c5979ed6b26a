"""Denoisers: what the clean data may have been."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor, nn

from unnoise.distributions import Distribution
from unnoise.kernels import TransitionKernel
from unnoise.spaces import Layout, State, Time

Condition: TypeAlias = "Mapping[str, Tensor] | None"
"""What a denoiser is told beside the state: tensors with one leading row per sample."""


class Denoiser(nn.Module, ABC):
    """p(x_0 | x_t), for the process `kernel`. Guidance is a denoiser around a denoiser."""

    kernel: TransitionKernel

    @abstractmethod
    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        """The law of x_0 for each sample, given its state at time t in (0, 1]."""

    if TYPE_CHECKING:

        def __call__(
            self, x_t: State, t: Time, layout: Layout, condition: Condition = None
        ) -> Distribution: ...
