"""WaveGrad (Chen 2020): the noise of a waveform, told the mel and how noisy it is.

A waveform goes down, by strides, to the rate of the mel's frames, and the mel goes up to that of
the samples. At each rate a FiLM layer makes a scale and a shift of what came down and of the level
l = sqrt(alpha_bar), and these act on what goes up:

    F(y, l, mel):    u <- U(u; shift, scale),   (shift, scale) = C(leaky(C(d)) + p(l)),   d <- D(d),
    p(l)_k = sin(5000 l 10^(-4 k/n)), cos(...).

The level is all that it knows of the noise: a network that was trained on one schedule runs on any.

What goes up is repeated f times and then convolved, and what comes down is convolved and then
thinned out. A convolution of width 1 commutes with both, and one of width 3 needs each of its three
products once per frame instead of once per sample,

    conv(repeat(u))[f i + j] = A u[i - (j = 0)] + B u[i] + C u[i + (j = f - 1)],

which is the same function at a fraction of the cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Condition
from unnoise.errors import InputError
from unnoise.spaces import Layout
from unnoise_audio.configuration import Configuration
from unnoise_audio.mel import log_bands
from unnoise_audio.rates import dilations

FIRST: Final = 32
"""Channels at the rate of samples."""
DOWN: Final = (128, 128, 256, 512)
"""Channels after each thinning; the last for all that follow."""
UP: Final = (512, 256, 128, 128)
"""Channels after each repetition, the last ones; the first for all before."""
_TOLD: Final = 768  # channels of the mel
_SLOPE: Final = 0.2
_MANY: Final = 1 << 16  # weights of one tap, from which fewer products are worth more additions
_LEVEL: Final = 5000.0


@final
class Conv(nn.Module):
    """A convolution of (B, T, in), samples before channels: a sum of matrix products, which are
    faster so. `weight` is (width, in, out)."""

    def __init__(
        self, inputs: int, outputs: int, width: int, dilation: int = 1, film: bool = False
    ) -> None:
        super().__init__()
        self.width, self.dilation = width, dilation
        start = torch.empty(outputs, inputs, width)
        _ = nn.init.xavier_uniform_(start) if film else nn.init.orthogonal_(start)
        self.weight = nn.Parameter(start.permute(2, 1, 0).contiguous())
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time out"]:
        batch, time, inputs = x.shape
        far = self.dilation * (self.width // 2)
        if self.width == 3 and self.weight[0].numel() >= _MANY and time >= 4 * self.dilation:
            return self._pairs(x)
        if batch == 1:  # nothing is copied
            y = torch.addmm(self.bias, x[0], self.weight[self.width // 2])
            for k in range(self.width):
                shift = k * self.dilation - far
                if 0 < abs(shift) < time:
                    low, high = max(0, -shift), min(time, time - shift)
                    y[low:high].addmm_(x[0, low + shift : high + shift], self.weight[k])
            return y[None]
        rows = (F.pad(x, (0, 0, far, far)) if far else x).reshape(-1, inputs)
        count = len(rows) - 2 * far  # between the samples of a batch there are `far` of padding
        y = torch.addmm(self.bias, rows[:count], self.weight[0])
        for k in range(1, self.width):
            start = k * self.dilation
            y.addmm_(rows[start : start + count], self.weight[k])
        if not far:
            return y.view(batch, time, -1)
        return F.pad(y, (0, 0, 0, 2 * far)).view(batch, time + 2 * far, -1)[:, :time]

    def _pairs(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time out"]:
        """The same by four products for two outputs instead of six (Winograd 1980, F(2, 3)):

        y_t = p + q + (x_{t-1} - x_{t+1}) A,    y_{t+1} = p - q - (x_t - x_{t+2}) C,
        p = (x_t + x_{t+1}) (A + B + C) / 2,    q = (x_{t+1} - x_t) (A - B + C) / 2.
        """
        time, far = x.shape[1], self.dilation
        x = F.pad(x, (0, 0, 0, -time % (2 * far))) if time % (2 * far) else x
        pairs = x.view(len(x), -1, 2, far, x.shape[2])
        even, odd = pairs[:, :, 0], pairs[:, :, 1]
        a, b, c = self.weight
        outer = (a + c) / 2
        p = torch.matmul(even + odd, outer + b / 2).add_(self.bias)
        q = torch.matmul(odd - even, outer - b / 2)
        edge = torch.zeros_like(even[:, :1])
        before = _rows(torch.cat([edge, odd[:, :-1]], 1) - odd)
        first = (p + q).flatten(0, -2).addmm_(before, a)
        after = _rows(even - torch.cat([even[:, 1:], edge], 1))
        second = (p - q).flatten(0, -2).addmm_(after, c, alpha=-1)
        y = torch.stack([first.view_as(p), second.view_as(p)], 2)
        return y.flatten(1, 3)[:, :time]

    def repeated(
        self, x: Float[Tensor, "batch time in"], factor: int
    ) -> Float[Tensor, "batch longer out"]:
        """What the convolution, of width 3, makes of every entry repeated `factor` times."""
        if factor == 1:
            same: Tensor = self(x)
            return same
        before, at, after = (x @ self.weight[k] for k in range(3))
        at = at + self.bias
        first = at + after
        first[:, 1:] += before[:, :-1]
        last = at + before
        last[:, :-1] += after[:, 1:]
        middle = [at + before + after] * (factor - 2)
        return torch.stack([first, *middle, last], 2).flatten(1, 2)


@final
class Film(nn.Module):
    """Scale and shift from what came down and the noise level."""

    frequencies: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inner, self.outer = Conv(inputs, inputs, 3, film=True), Conv(inputs, 2 * outputs, 3)
        nn.init.xavier_uniform_(self.outer.weight.data.permute(2, 1, 0))
        count = inputs // 2
        exponents = torch.arange(count) / count
        self.register_buffer("frequencies", _LEVEL * 10 ** (-4 * exponents), persistent=False)

    def forward(self, x: Tensor, level: Float[Tensor, " batch"], mask: Tensor | None) -> Tensor:
        """(B, T, 2 outputs): shift and scale."""
        angle = level[:, None] * self.frequencies
        known = torch.cat([angle.sin(), angle.cos()], -1)[:, None]
        made: Tensor = self.outer(_kept(F.leaky_relu_(self.inner(x), _SLOPE) + known, mask))
        return made


@final
class UpBlock(nn.Module):
    """U: `factor` times as many samples."""

    def __init__(self, inputs: int, outputs: int, factor: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.factor = factor
        self.straight = Conv(inputs, outputs, 1)
        self.convs = nn.ModuleList(
            Conv(inputs if k == 0 else outputs, outputs, 3, d) for k, d in enumerate(dilations)
        )

    def forward(self, x: Tensor, film: Tensor, mask: Tensor | None) -> Tensor:
        shift, scale = film.chunk(2, -1)
        first, second, third, fourth = self.convs

        def modulated(h: Tensor) -> Tensor:
            return _kept(F.leaky_relu_(torch.addcmul(shift, scale, h), _SLOPE), mask)

        # dilated 1: a repeated frame is its own neighbour
        assert isinstance(first, Conv)
        h = second(modulated(first.repeated(F.leaky_relu(x, _SLOPE), self.factor)))
        repeated = self.straight(x)[:, :, None]
        h = h.view(len(h), -1, self.factor, h.shape[2]).add_(repeated).flatten(1, 2)
        h = _kept(h, mask)
        return _kept(fourth(modulated(third(modulated(h)))).add_(h), mask)


@final
class DownBlock(nn.Module):
    """D: every `factor`-th sample."""

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.straight = Conv(inputs, outputs, 1)
        self.convs = nn.ModuleList(
            Conv(inputs if k == 0 else outputs, outputs, 3, d) for k, d in enumerate((1, 2, 4))
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x[:, :: self.factor]
        h = x
        for conv in self.convs:
            h = conv(_kept(F.leaky_relu(h, _SLOPE), mask))
        return _kept(self.straight(x).add_(h), mask)


@final
class WaveGrad(nn.Module):
    """F(y_t, l | mel): the noise in blocks of samples, one block for each frame of the mel.

    Base has 15.9 million parameters for 128 bands; in the large network every block is followed by
    one that leaves the rate as it is.
    """

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        own = configuration
        self.mel, self.known = own.mel, own.known
        self.factors = factors = own.factors_used
        count = len(factors)
        repeats = 2 if own.size == "large" else 1
        down = [DOWN[min(k, len(DOWN) - 1)] for k in range(count - 1)]
        up = [UP[max(0, len(UP) - count + k)] for k in range(count)]
        self.first = Conv(1, FIRST, 5)
        self.down = nn.ModuleList(
            nn.ModuleList(
                DownBlock(a if k == 0 else b, b, f if k == 0 else 1) for k in range(repeats)
            )
            for a, b, f in zip([FIRST, *down], down, factors[:0:-1], strict=False)
        )
        self.film = nn.ModuleList(
            Film(a, b) for a, b in zip([FIRST, *down], reversed(up), strict=True)
        )
        self.told = Conv(own.mel.mels, _TOLD, 3)
        self.up = nn.ModuleList(
            nn.ModuleList(
                UpBlock(
                    a if k == 0 else b,
                    b,
                    f if k == 0 else 1,
                    dilations(place, count),
                )
                for k in range(repeats)
            )
            for place, (a, b, f) in enumerate(zip([_TOLD, *up], up, factors, strict=False))
        )
        self.last = Conv(up[-1], 1, 3)

    def forward(
        self,
        x: Float[Tensor, "batch frames hop"],
        level: Float[Tensor, " batch"],
        layout: Layout,
        condition: Condition = None,
    ) -> Float[Tensor, "batch frames hop"]:
        """`condition` has "mel" (B, frames, mels)."""
        if condition is None or "mel" not in condition:
            raise InputError("a vocoder is told the mel", value=condition, fix="pass mel")
        bands = (log_bands(condition["mel"], self.mel) - self.known.mean) / self.known.spread
        masks = self._masks(layout)
        h = self.first(layout.zero_padding(x).flatten(1)[..., None])
        films = [self.film[0](_kept(h, masks[-1]), level, masks[-1])]
        h = _kept(h, masks[-1])
        for blocks, film, mask in zip(self.down, self.film[1:], masks[-2::-1], strict=False):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, mask)
            films.append(film(h, level, mask))
        h = self.told(layout.zero_padding(bands))
        h = layout.zero_padding(h)
        for blocks, film, mask in zip(self.up, reversed(films), masks, strict=True):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, film, mask)
        return layout.zero_padding(self.last(h).view(x.shape))

    def _masks(self, layout: Layout) -> list[Tensor | None]:
        """What is no padding at the rate of each block that goes up, (B, T, 1)."""
        if layout.mask is None:
            return [None] * len(self.factors)
        rates = [math.prod(self.factors[: k + 1]) for k in range(len(self.factors))]
        real = layout.mask.float()[..., None]
        return [real.repeat_interleave(rate, 1) for rate in rates]


def _rows(x: Tensor) -> Tensor:
    return x.flatten(0, -2)


def _kept(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x` with zeros in the padding."""
    return x if mask is None else x * mask
