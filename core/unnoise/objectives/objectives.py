"""Training objectives: (denoiser, batch, noise) -> loss (B,), unreduced; or several, in turns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unnoise.denoise import Denoiser, GaussianParametrization, NetworkDenoiser
from unnoise.errors import ConfigError
from unnoise.kernels import training_times
from unnoise.noise import NoiseSource
from unnoise.objectives.base import Objective, OnStates
from unnoise.objectives.batch import Batch
from unnoise.objectives.turn import Elapsed, Loss, Networks, Turn
from unnoise.spaces import Layout, tensor


class Error(ABC):
    """What a difference of an output from its target costs, entry by entry."""

    @abstractmethod
    def __call__(self, difference: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        """The cost of each entry."""


@final
@dataclass(frozen=True)
class Squared(Error):
    """d^2: the best output is the mean."""

    def __call__(self, difference: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        return difference**2


@final
@dataclass(frozen=True)
class Absolute(Error):
    """|d|, of Gaussian kernels (Chen 2020, WaveGrad): the best output is the median, the mean only
    where the target is spread symmetrically around it."""

    def __call__(self, difference: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        return difference.abs()


@final
@dataclass(frozen=True)
class Simple(Objective):
    """The parametrization's own loss at a random time, unweighted (Ho 2020), or another error of
    its target.

    Times are spread evenly over consecutive sample numbers; a discrete kernel is trained at every
    t = 1/T .. 1.
    """

    error: Error = Squared()

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
        if isinstance(self.error, Squared):
            return parametrization.loss(kernel, output, batch.x0, x_t, t, layout)
        if not isinstance(parametrization, GaussianParametrization):
            raise ConfigError(
                "only a Gaussian parametrization has a target to take this error of",
                value=type(parametrization).__name__,
                fix="use Simple()",
            )
        target = parametrization.target(kernel, batch.x0, x_t, t, layout)
        return layout.sum(self.error(tensor(output) - target)) / layout.sizes


@final
@dataclass(frozen=True, eq=False)
class ConditionDropout(Objective):
    """Train with and without condition, for classifier-free guidance.

    With probability `probability` a sample's condition is replaced by `unconditional`, a mapping
    of tensors with one leading row. Parts of the condition that it does not name stay: the small
    picture of an upsampler, whose caption is dropped.
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
        return self.objective(denoiser, self._without(batch, noise), noise)

    def turns(self, networks: Networks) -> Sequence[Turn]:
        return [
            replace(turn, loss=self._loss(turn.loss)) for turn in self.objective.turns(networks)
        ]

    def others(self) -> Mapping[str, nn.Module]:
        return self.objective.others()

    def _loss(self, loss: Loss) -> Loss:
        if isinstance(loss, OnStates):  # the codec is told the condition that only then is dropped
            return OnStates(replace(self, objective=loss.objective))

        def dropped(
            networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
        ) -> Tensor:
            return loss(networks, self._without(batch, noise), noise, progress)

        return dropped

    def _without(self, batch: Batch, noise: NoiseSource) -> Batch:
        layout = batch.layout
        if not set(self.unconditional) <= set(batch.condition or ()):
            raise ConfigError(
                "the unconditional stands for a condition that the batch does not have",
                value=sorted(self.unconditional),
                limit=sorted(batch.condition or ()),
            )
        u = noise.uniform(Layout.dense(layout.batch, device=layout.device))
        drop = u < self.probability
        mixed = dict(batch.condition or {})
        for name, none in self.unconditional.items():
            value = mixed[name]
            rows = drop.view(-1, *(1,) * (value.ndim - 1))
            mixed[name] = torch.where(rows, none.to(value), value)
        return replace(batch, condition=mixed or None)
