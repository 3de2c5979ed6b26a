"""What a decoder says of the values of a picture: laws of the levels 0 .. n - 1, which share a head
along the channels of the network's output.

| likelihood | numbers for each value | p(x | z) |
|---|---|---|
| bernoulli | logit | P(1) = sigmoid(logit) |
| logistic | location, log scale | a logistic law, rounded to the levels |
| categorical | n logits | softmax |
| gaussian | mean, log scale | N(mean, scale^2), a density of the data |

Locations and scales are put out in units of half the range of the levels, around its middle.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unnoise.codecs import Head
from unnoise.distributions import (
    Bernoulli,
    Categorical,
    DiscretisedLogistic,
    Distribution,
    Gaussian,
    Levels,
)
from unnoise.errors import InputError
from unnoise.objectives import Categories, DataType, Quantised
from unnoise.spaces import Euclidean, Layout, State, tensor
from unnoise_latent.configuration import Configuration

_LOG_SCALE = (-6.0, 3.0)
"""Of half the range: from a third of a level of 256 to where all levels look alike."""


class PictureHead(Head):
    """A head of values on the levels 0 .. `levels` - 1.

    Attributes
    ----------
    outputs : numbers of the network for each value.
    data_type : what likelihoods of the values are.
    dtype : of the data.
    """

    levels: int

    @property
    @abstractmethod
    def outputs(self) -> int: ...

    @property
    def data_type(self) -> DataType:
        return Quantised(self.levels, 0.0, self.levels - 1.0)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def _numbers(self, output: Tensor, layout: Layout) -> list[Tensor]:
        """Those of each value, each with the shape of the layout. InputError for another shape."""
        batch, channels, *sides = layout.shape
        wanted = (batch, channels * self.outputs, *sides)
        if tuple(output.shape) != wanted:
            raise InputError(
                "the decoder puts out another shape than its head reads",
                value=tuple(output.shape),
                limit=wanted,
            )
        return list(output.chunk(self.outputs, 1))


@final
@dataclass(frozen=True)
class Binary(PictureHead):
    """Black or white."""

    levels = 2
    outputs = 1

    def law(self, output: Tensor, layout: Layout) -> Distribution:
        (logits,) = self._numbers(output, layout)
        return Bernoulli(logits, layout)


@final
@dataclass(frozen=True)
class Logistic(PictureHead):
    """A discretised logistic law."""

    levels: int = 256
    outputs = 2

    def law(self, output: Tensor, layout: Layout) -> Distribution:
        location, log_scale = self._numbers(output, layout)
        half = (self.levels - 1) / 2
        scale = half * log_scale.clamp(*_LOG_SCALE).exp()
        return DiscretisedLogistic(
            half * (1 + location), scale, layout, self.levels, 0.0, self.levels - 1.0
        )


@final
@dataclass(frozen=True)
class Normal(PictureHead):
    """N(mean, scale^2)."""

    levels: int = 256
    outputs = 2

    def law(self, output: Tensor, layout: Layout) -> Distribution:
        mean, log_scale = self._numbers(output, layout)
        half = (self.levels - 1) / 2
        scale = half * log_scale.clamp(*_LOG_SCALE).exp()
        return Gaussian(half * (1 + mean), scale, Euclidean(), layout)


@final
@dataclass(frozen=True)
class Softmax(PictureHead):
    """A probability for each level."""

    levels: int = 256

    @property
    def outputs(self) -> int:
        return self.levels

    @property
    def data_type(self) -> DataType:
        return Categories()

    @property
    def dtype(self) -> torch.dtype:
        return torch.int64

    def law(self, output: Tensor, layout: Layout) -> Distribution:
        return Categorical.from_logits(torch.stack(self._numbers(output, layout), -1), layout)


def head_of(configuration: Configuration) -> PictureHead:
    """The head that a configuration names."""
    levels = configuration.levels
    if configuration.likelihood == "bernoulli":
        return Binary()
    if configuration.likelihood == "logistic":
        return Logistic(levels)
    if configuration.likelihood == "categorical":
        return Softmax(levels)
    return Normal(levels)


def median(law: Distribution) -> State:
    """The median of each value: what a picture of the law shows. A mean would be grey where the law
    is black or white, and a most probable level jumps to an end that has a tail."""
    if isinstance(law, Levels):
        return law.median
    if isinstance(law, Categorical):
        below = law.log_probs.exp().cumsum(-1)
        return (below < 0.5).sum(-1).clamp(max=law.log_probs.shape[-1] - 1)
    return tensor(law.mode)
