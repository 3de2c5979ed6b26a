"""An autoencoder whose laws are all known: linear maps with Gaussian noise.

    p(x | z) = N(W z + b, s^2),        p(z) = N(0, I),
    p(x) = N(b, W W^T + s^2 I),        p(z | x) = N(M^-1 W^T (x - b), s^2 M^-1),   M = W^T W + s^2 I

(probabilistic principal components, Tipping & Bishop 1999). With columns of W that are orthogonal
M is diagonal, and an encoder of independent normal codes can be the exact posterior.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from unnoise.codecs import Autoencoder, DiagonalGaussian, Features, FixedGaussian
from unnoise.denoise import Condition
from unnoise.spaces import Layout


@final
class LinearMap(nn.Module):
    """matrix x + offset along the last axis; behind it constant log variances, if given."""

    def __init__(
        self,
        matrix: Float[Tensor, "out in"],
        offset: Float[Tensor, " out"] | None = None,
        log_variance: Float[Tensor, " out"] | None = None,
    ) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)
        self.offset = nn.Parameter(torch.zeros_like(matrix[:, 0]) if offset is None else offset)
        self.log_variance = None if log_variance is None else nn.Parameter(log_variance)

    def forward(self, x: Tensor, layout: Layout, condition: Condition = None) -> Tensor:
        mean = x @ self.matrix.mT + self.offset
        if self.log_variance is None:
            return mean
        return torch.cat([mean, self.log_variance.expand_as(mean)], -1)


def linear_codec(
    weight: Float64[Tensor, "data code"],
    offset: Float64[Tensor, " data"],
    std: float,
    *,
    widen: float = 1.0,
    move: float = 0.0,
) -> Autoencoder:
    """The codec above, each row of data (.., d) having codes (.., k).

    Parameters
    ----------
    weight : W, with orthogonal columns for an exact encoder.
    widen, move : what is wrong with the encoder: its standard deviations are that of the posterior
        times `widen`, its means off by `move` of them.
    """
    gram = (weight**2).sum(0) + std**2
    own = std / gram.sqrt()
    matrix = weight.mT / gram[:, None]
    encoder = LinearMap(matrix, move * own - matrix @ offset, 2 * (widen * own).log())
    decoder = LinearMap(weight, offset)
    rows = Features(tuple(weight.shape[:1]), tuple(weight.shape[1:]))
    return Autoencoder(encoder, decoder, rows, DiagonalGaussian(), FixedGaussian(std))
