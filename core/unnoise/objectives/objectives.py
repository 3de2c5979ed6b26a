"""Training objectives: (denoiser, batch, noise) -> loss (B,), unreduced."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.denoise import Condition, Denoiser, NetworkDenoiser
from unnoise.errors import ConfigError
from unnoise.kernels import training_times
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Clean data with its layout and condition (tensors with one leading row per sample)."""

    x0: State
    layout: Layout
    condition: Condition = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        x0 = self.x0
        if isinstance(x0, Tensor):
            moved: State = x0.to(device)
        else:
            moved = {n: x.to(device) for n, x in x0.items()}
        condition = self.condition and {n: c.to(device) for n, c in self.condition.items()}
        return Batch(moved, self.layout.to(device), condition)


class Objective(ABC):
    """A loss per sample. All that is random in it comes from `noise`."""

    @abstractmethod
    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        """(B,) loss of a batch of clean data."""


@final
@dataclass(frozen=True)
class Simple(Objective):
    """The parametrization's own loss at a random time, unweighted (Ho 2020).

    Times are spread evenly over consecutive sample numbers; a discrete kernel is trained at every
    t = 1/T .. 1.
    """

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        if not isinstance(denoiser, NetworkDenoiser):
            raise ConfigError("only a NetworkDenoiser is trained", value=type(denoiser).__name__)
        kernel, parametrization = denoiser.kernel, denoiser.parametrization
        layout = batch.layout
        t = training_times(kernel, noise.times().to(layout.device))
        x_t = kernel.noisy(batch.x0, t, layout, noise)
        output = denoiser.output(x_t, t, layout, batch.condition)
        return parametrization.loss(kernel, output, batch.x0, x_t, t, layout)


@final
@dataclass(frozen=True, eq=False)
class ConditionDropout(Objective):
    """Train with and without condition, for classifier-free guidance.

    With probability `probability` a sample's condition is replaced by `unconditional`, a mapping
    of tensors with one leading row.
    """

    objective: Objective
    probability: float
    unconditional: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError("a probability", value=self.probability, limit="0 to 1")

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        layout = batch.layout
        if set(batch.condition or ()) != set(self.unconditional):
            raise ConfigError(
                "the unconditional stands for another condition than the batch has",
                value=sorted(self.unconditional),
                limit=sorted(batch.condition or ()),
            )
        u = noise.uniform(Layout.dense(layout.batch, device=layout.device))
        drop = u < self.probability
        mixed = {
            name: torch.where(
                drop.view(-1, *(1,) * (value.ndim - 1)), self.unconditional[name].to(value), value
            )
            for name, value in (batch.condition or {}).items()
        }
        return self.objective(denoiser, replace(batch, condition=mixed or None), noise)
