"""What a series is to a diffusion: columns standardised, then counted from what is known.

    z = (x - mean) / scale          of each column, over the training part (float64 to float32),
    u = (z - m) / s                 csdi with the prior `bridge`: m and s of the cell's neighbours,
    u = z / level                   timegrad: in units of the window's mean absolute value.

Each is affine, so that a bound of u is one of x: log |det du / dx| = -sum log (scale s).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.codecs import Affine, Chain, Codec, Whitening
from unnoise.distributions import Distribution
from unnoise.noise import NoiseSource
from unnoise.objectives import Continuous, DataType, Prepared
from unnoise.spaces import DataSpace, Layout, State, tensor
from unnoise_timeseries.configuration import Configuration, Learned
from unnoise_timeseries.windows import Values


def standard(known: Learned) -> Affine:
    """The codec of the columns. Of a constant one, whose spread is 0, the scale is 1."""
    scale = [s if s > 0 else 1.0 for s in known.scale]
    return Affine(known.mean, scale, data=torch.float64, state=torch.float32)


def codec_of(configuration: Configuration) -> Codec:
    """From measurements, float64, to states."""
    columns = standard(configuration.known)
    if configuration.method == "timegrad":
        return Chain(columns, Whitening(scale="level"))
    return Chain(columns, Whitening("guess", "spread")) if configuration.bridged else columns


def standardised(values: Values, known: Learned) -> Values:
    """z, float32, of arrays with the columns last; NaN stays."""
    x = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
    return scaled(x, known).numpy()


def scaled(x: Tensor, known: Learned) -> Tensor:
    """As `standardised`."""
    layout = Layout.dense(x.shape[0], x.shape[1:], dtype=torch.float64)
    return tensor(standard(known).embed(x, layout)[0])


def with_constants(x: Values, known: Learned) -> Values:
    """Measurements with the columns last, those that were constant filled with the constant."""
    return np.where(np.asarray(known.scale) > 0, x, np.asarray(known.mean))


def measured(z: Values, known: Learned) -> Values:
    """The measurements behind z."""
    x = torch.from_numpy(np.ascontiguousarray(z, dtype=np.float64))
    layout = Layout.dense(x.shape[0], x.shape[1:], dtype=torch.float64)
    return with_constants(tensor(standard(known).decode(x, layout).mode).numpy(), known)


@final
@dataclass(frozen=True)
class Measurements(DataType):
    """Real numbers, in the units of each column, with the digits that its instrument gives.

    Likelihoods are densities. Unlike `Continuous` data, few different values are no reason to
    refuse them: what the neighbours leave open is as a rule wider than the last digit. Where it is
    not, the density of a column says more of the digit than of the model.
    """

    @property
    def measure(self) -> str:
        return "density"

    def check(self, x: State, layout: Layout) -> None:
        pass

    def change(self, space: DataSpace, layout: Layout) -> Float[Tensor, " batch"]:
        return Continuous().change(space, layout)

    def prepare(self, x: State, space: DataSpace, layout: Layout, noise: NoiseSource) -> Prepared:
        return Prepared(x, self.change(space, layout))

    def log_prob(self, law: Distribution, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        return law.log_prob(x0)
