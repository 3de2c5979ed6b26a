"""What a series is to a diffusion: columns standardised, then counted from what is known.

    w = the line of the column      of counts, shares and what has bounds: see `kinds`; else x,
    z = (w - mean) / scale          of each column, over the training part (float64 to float32),
    u = F (z - m)                   csdi with the prior `classical`: see `law`,
    u = (z - m) / s                 csdi with the prior `bridge`: m and s of the cell's neighbours,
    u = z / level                   timegrad: in units of the window's mean absolute value.

The last are affine, so that a bound of u is one of w: log |det du / dw| = -sum log (scale s), where
1 / s are the diagonal entries of F.
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
from unnoise_timeseries.innovations import Innovations
from unnoise_timeseries.kinds import Supported
from unnoise_timeseries.windows import Values


def standard(known: Learned) -> Affine:
    """The codec of the columns. Of a constant one, whose spread is 0, the scale is 1."""
    scale = [s if s > 0 else 1.0 for s in known.scale]
    return Affine(known.mean, scale, data=torch.float64, state=torch.float32)


def codec_of(configuration: Configuration) -> Codec:
    """From measurements, float64, to states."""
    known = configuration.known
    steps: list[Codec] = [Supported(known.supports)] if known.supports else []
    own = standard(known)
    steps.append(Innovations(own) if configuration.classical else own)
    if configuration.method == "timegrad":
        steps.append(Whitening(scale="level"))
    elif configuration.bridged and not configuration.classical:
        steps.append(Whitening("guess", "spread"))
    return steps[0] if len(steps) == 1 else Chain(*steps)


def standardised(values: Values, known: Learned) -> Values:
    """z, float32, of arrays with the columns last; NaN stays."""
    x = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
    return scaled(x, known).numpy()


def scaled(x: Tensor, known: Learned) -> Tensor:
    """As `standardised`."""
    layout = Layout.dense(x.shape[0], x.shape[1:], dtype=torch.float64)
    return tensor(columns_of(known).embed(x, layout)[0])


def columns_of(known: Learned) -> Codec:
    """From measurements to z: what a column is, and its scale."""
    own = standard(known)
    return Chain(Supported(known.supports), own) if known.supports else own


def limits(known: Learned, room: float) -> tuple[Tensor, Tensor]:
    """The least and the largest measurement of each column that is believed, (K,) float64: of
    columns of numbers `room` times the largest |z| of all; of others half their range more."""
    mean = torch.tensor(known.mean, dtype=torch.float64)
    scale = torch.tensor([s if s > 0 else 1.0 for s in known.scale], dtype=torch.float64)
    low, high = mean - room * known.limit * scale, mean + room * known.limit * scale
    for j, own in enumerate(known.supports):
        if own.least is not None and own.most is not None:
            low[j], high[j] = own.least, own.most
            if own.whole:
                low[j], high[j] = low[j].ceil(), high[j].floor()
    return low, high


def with_constants(x: Values, known: Learned) -> Values:
    """Measurements with the columns last, those that were constant filled with the constant."""
    return np.where(np.asarray(known.scale) > 0, x, np.asarray(known.mean))


def measured(z: Values, known: Learned) -> Values:
    """The measurements behind z."""
    x = torch.from_numpy(np.ascontiguousarray(z, dtype=np.float64))
    layout = Layout.dense(x.shape[0], x.shape[1:], dtype=torch.float64)
    return with_constants(tensor(columns_of(known).decode(x, layout).mode).numpy(), known)


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
