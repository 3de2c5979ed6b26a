"""The modified discrete cosine transform as a codec: blocks of samples to blocks of coefficients.

    X[m, k] = sum over n of w(n) x(m N + n - N/2) sqrt(2/N) cos(pi/N (n + 1/2 - N/2) (k + 1/2)),
    w(n) = sin(pi (n + 1/2) / 2N),   n = 0 .. 2N - 1,   k = 0 .. N - 1,

for block m of N samples: that of Princen & Bradley (1987), which has + N/2, of the signal reversed
in time, but for signs. Neighbouring blocks share their borders, and still there is one coefficient
per sample: the transform is orthonormal. White noise stays white noise, an error of the
coefficients is as large as that of the waveform, and the codec's term of a likelihood is 0. It is
done in two orthonormal steps: at each border the sample that lies i + 1/2 before it, u, and its
mirror image, v, are turned,

    v' = c v + s u,   u' = c u - s v,   (c, s) = (cos, sin) of pi/4 (1 - (i + 1/2) / (N/2)),

then every block goes through the DCT-IV. The two ends of a signal are no borders: nothing lies
beyond them, and what they are turned with is left out. The weights of the window above are these.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unnoise.codecs import Codec, Encoded
from unnoise.denoise import Condition
from unnoise.distributions import Dirac, Distribution
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, State, tensor


def dct4(size: int) -> Float[Tensor, "size size"]:
    """The orthonormal DCT-IV, its own inverse, float64."""
    n = torch.arange(size, dtype=torch.float64) + 0.5
    return math.sqrt(2 / size) * torch.cos(math.pi / size * n[:, None] * n)


@final
class MDCT(Codec):
    """Data (rows, M, N) are M blocks of N samples, states as many coefficients, lowest first.

    Parameters
    ----------
    size : N, even.
    """

    cosines: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 2 or size % 2:
            raise ConfigError("a block of the MDCT has an even number of samples", value=size)
        self.size = size
        angle = math.pi / 4 * (1 - (torch.arange(size // 2, dtype=torch.float64) + 0.5) * 2 / size)
        for name, value in (("cosines", dct4(size)), ("cos", angle.cos()), ("sin", angle.sin())):
            self.register_buffer(name, value, persistent=False)

    @property
    def invertible(self) -> bool:
        return True

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        Euclidean().validate(x, layout)
        z, found = self.embed(x, layout)
        return Encoded(z, found, torch.zeros(layout.batch, dtype=torch.float64, device=z.device))

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[Tensor, Layout]:
        x = self._checked(x, layout)
        return layout.zero_padding(self._turned(x, layout, 1) @ self.cosines.to(x.dtype)), layout

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        return Dirac(self._samples(tensor(z), layout), layout)

    def push(self, law: Distribution, layout: Layout, condition: Condition = None) -> Distribution:
        if not isinstance(law, Dirac):
            return super().push(law, layout, condition)
        return Dirac(self._samples(tensor(law.mean), layout), layout)

    def _samples(self, z: Tensor, layout: Layout) -> Tensor:
        z = self._checked(z, layout)
        return layout.zero_padding(self._turned(z @ self.cosines.to(z.dtype), layout, -1))

    def _checked(self, x: State, layout: Layout) -> Tensor:
        x = tensor(x)
        if len(layout.shape) != 3 or layout.shape[-1] != self.size or layout.index is not None:
            raise InputError(
                "the MDCT works on blocks of samples",
                value=layout.shape,
                limit=f"(rows, blocks, {self.size})",
            )
        if tuple(x.shape) != layout.shape:
            raise InputError("wrong shape of the blocks", value=tuple(x.shape), limit=layout.shape)
        return x

    def _turned(self, x: Tensor, layout: Layout, sense: int) -> Tensor:
        """The two sides of every border turned; `sense` -1 is the inverse of 1."""
        half = self.size // 2
        cos, sin = self.cos.to(x.dtype), sense * self.sin.to(x.dtype)
        before, after = x[:, :-1, half:].flip(-1), x[:, 1:, :half]
        if layout.mask is not None:
            inner = layout.mask[:, 1:, None].to(x.dtype)
            cos, sin = torch.where(inner > 0, cos, 1.0), sin * inner
        first, last = x[:, :1, :half], x[:, -1:, half:]
        heads = torch.cat([first, cos * after + sin * before], 1)
        tails = torch.cat([(cos * before - sin * after).flip(-1), last], 1)
        return torch.cat([heads, tails], -1)


@final
class Quadrature(nn.Module):
    """From the MDCT to the MDST of the same signal, its imaginary part: with
    (M X)[m] = A X[m] + B X[m - 1] + C X[m + 1], the transform with sin in place of cos. Blocks
    beyond the ends count as silent."""

    now: Tensor
    before: Tensor
    after: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        n = torch.arange(2 * size, dtype=torch.float64)
        window = torch.sin(math.pi * (n + 0.5) / (2 * size)) * math.sqrt(2 / size)
        k = torch.arange(size, dtype=torch.float64)[:, None]
        angle = math.pi / size * (n + 0.5 - size / 2) * (k + 0.5)
        cos, sin = window * angle.cos(), window * angle.sin()
        matrices = (
            ("now", cos @ sin.T),
            ("before", cos[:, size:] @ sin[:, :size].T),
            ("after", cos[:, :size] @ sin[:, size:].T),
        )
        for name, value in matrices:
            self.register_buffer(name, value.float(), persistent=False)

    def forward(self, z: Float[Tensor, "batch blocks size"]) -> Float[Tensor, "batch blocks size"]:
        padded = torch.nn.functional.pad(z, (0, 0, 1, 1))
        return padded[:, :-2] @ self.before + z @ self.now + padded[:, 2:] @ self.after
