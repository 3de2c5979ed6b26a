"""A hierarchical variational autoencoder (Vahdat 2020, NVAE; 2021, LSGM).

    q(z | x) = prod_l q(z_l | x, z_<l),    z = (z_1 .. z_L),    p(x | z)

with Gaussian groups z_l at one resolution, which lie one after the other along the channels of one
state z (B, C, h, w). The decoder takes the groups in turn,

    s_0 = a constant,    s_l = cell_l(s_{l-1} + W_l z_l),    p(x | z) from s_L,

and the encoder sees x through h(x) and the groups before through s_{l-1}. The prior of a group is
no network of the decoder but N(0, 1), or a diffusion of all groups together: NVAE's own, reparam-
etrised (LSGM, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.codecs import Codec, DiagonalGaussian, Encoded
from unnoise.codecs.base import check_data
from unnoise.denoise import Condition
from unnoise.distributions import Distribution
from unnoise.errors import InputError, NonFiniteError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, tensor
from unnoise_latent.heads import PictureHead
from unnoise_latent.prior import normalised


class Cell(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = normalised(width), normalised(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Encoder(nn.Module):
    """h(x): from pictures, padded to a multiple of the factor, to features at the latents' size."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.levels = nn.ModuleList([_cells(width, blocks) for width in widths])
        self.shrink = nn.ModuleList(
            [nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)]
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last))
        for level, shrink in zip(self.levels[:-1], self.shrink, strict=True):
            h = shrink(level(h))
        return self.levels[-1](h)


class Decoder(nn.Module):
    """From s_L to the numbers of the head, at the size of the padded pictures.

    At the latents' own size the groups' cells have done the work.
    """

    def __init__(self, outputs: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        rising = list(reversed(widths))
        fine = max(8, widths[0] // 3)
        self.levels = nn.ModuleList([_cells(width, blocks) for width in rising[1:]])
        self.grow = nn.ModuleList([nn.Conv2d(a, b, 1) for a, b in pairwise(rising)])
        self.norm = normalised(widths[0])
        self.up = nn.Conv2d(widths[0], 4 * fine, 3, padding=1)
        self.out = nn.Conv2d(fine, outputs, 3, padding=1)

    def forward(self, s: Tensor) -> Tensor:
        h = s
        for grow, level in zip(self.grow, self.levels, strict=True):
            h = level(F.interpolate(grow(h), scale_factor=2.0, mode="nearest"))
        h = F.pixel_shuffle(self.up(F.silu(self.norm(h))), 2)
        return self.out(F.silu(h))


class Group(nn.Module):
    """A group of latents: its posterior given h(x) and s_{l-1}, and what it does to the state."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.seen = nn.Conv2d(width, width, 1)
        self.norm1, self.norm2 = normalised(width), normalised(width)
        self.both = nn.Conv2d(width, width, 3, padding=1)
        self.posterior = nn.Conv2d(width, 2 * channels, 1)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.after = Cell(width)
        nn.init.zeros_(self.posterior.weight)
        nn.init.zeros_(self.posterior.bias)

    def numbers(self, h: Tensor, s: Tensor) -> Tensor:
        """Means and log variances of z_l."""
        both = self.both(F.silu(self.norm1(h + self.seen(s))))
        return self.posterior(F.silu(self.norm2(both)))

    def forward(self, s: Tensor, z: Tensor) -> Tensor:
        return self.after(s + self.enter(z))


@final
class Hierarchical(Codec):
    """Groups of latents (B, channels, h, w) of pictures (B, C, H, W), h = ceil(H / 2^n) with n the
    number of `widths`. Pictures are padded inside, and cut back.

    Parameters
    ----------
    size : (C, H, W) of the pictures.
    head : the law of their values, whose levels tell the range.
    channels : of all groups together, a multiple of `groups`.
    widths : of the networks at a half, a quarter, .. of the resolution.
    blocks : residual cells at each resolution.
    """

    def __init__(
        self,
        size: tuple[int, int, int],
        head: PictureHead,
        groups: int = 2,
        channels: int = 16,
        widths: Sequence[int] = (24, 48, 128),
        blocks: int = 1,
    ) -> None:
        super().__init__()
        self.size, self.head, self.channels = size, head, channels
        self.factor = 2 ** len(widths)
        self.encoder = Encoder(size[0], widths, blocks)
        self.groups = nn.ModuleList([Group(widths[-1], channels // groups) for _ in range(groups)])
        self.decoder = Decoder(head.outputs * size[0], widths, blocks)
        self.constant = nn.Parameter(torch.zeros(1, widths[-1], *self._sides))
        self._law = DiagonalGaussian(axis=1)

    @property
    def invertible(self) -> bool:
        return False

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        z, found, s, log_posterior = self._posterior(x, layout, noise)
        gain = self._likelihood(s, layout).log_prob(x).double()
        return Encoded(z, found, gain - log_posterior, log_posterior)

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[State, Layout]:
        z, found, _, _ = self._posterior(x, layout, noise)
        return z, found

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        z, data = tensor(z), self.data_layout(layout)
        if tuple(z.shape) != layout.shape:
            raise InputError("wrong shape of the latents", value=tuple(z.shape), limit=layout.shape)
        _check_finite(z)
        s = self.constant.expand(layout.batch, -1, -1, -1)
        for group, part in zip(self._groups, z.chunk(len(self._groups), 1), strict=True):
            s = group(s, part)
        return self._likelihood(s, data)

    def state_layout(self, layout: Layout) -> Layout:
        self._check(layout, self.size, "the codec takes pictures of another size")
        dtype = layout.dtype if layout.dtype.is_floating_point else torch.float32
        return replace(layout, shape=(layout.batch, self.channels, *self._sides), dtype=dtype)

    def data_layout(self, layout: Layout) -> Layout:
        wanted = (self.channels, *self._sides)
        self._check(layout, wanted, "the codec takes latents of another shape")
        dtype = layout.dtype if self.head.dtype.is_floating_point else self.head.dtype
        return replace(layout, shape=(layout.batch, *self.size), dtype=dtype)

    def _posterior(
        self, x: State, layout: Layout, noise: NoiseSource | None
    ) -> tuple[Tensor, Layout, Tensor, Tensor]:
        """z, its layout, s_L and log q(z | x)."""
        found = self.state_layout(layout)
        check_data(x, layout)
        h = self.encoder(self._scaled(tensor(x).to(found.dtype)))
        s = self.constant.expand(layout.batch, -1, -1, -1)
        each = replace(found, shape=(layout.batch, self.channels // len(self.groups), *self._sides))
        states, total = [], torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)
        for group in self._groups:
            q = self._law.law(group.numbers(h, s), each)
            z = tensor(q.mean if noise is None else q.sample(noise))
            _check_finite(z)
            total = total + q.log_prob(z).double()
            s = group(s, z)
            states.append(z)
        return torch.cat(states, 1), found, s, total

    def _likelihood(self, s: Tensor, layout: Layout) -> Distribution:
        _, height, width = self.size
        top, left = self._margins[2], self._margins[0]
        output = self.decoder(s)[..., top : top + height, left : left + width]
        return self.head.law(output, layout)

    def _scaled(self, x: Tensor) -> Tensor:
        """From -1 to 1, and padded by what is at the margin."""
        return F.pad(2 * x / (self.head.levels - 1) - 1, self._margins, mode="replicate")

    @property
    def _sides(self) -> tuple[int, int]:
        _, height, width = self.size
        return -(-height // self.factor), -(-width // self.factor)

    @property
    def _margins(self) -> tuple[int, int, int, int]:
        """Left, right, top, bottom."""
        sides = zip(self._sides, self.size[1:], strict=True)
        rows, columns = (n * self.factor - side for n, side in sides)
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2

    @property
    def _groups(self) -> list[Group]:
        return list(self.groups)  # type: ignore[arg-type]  # torch types its containers as Module

    def _check(self, layout: Layout, wanted: tuple[int, ...], what: str) -> None:
        dense = layout.index is None and layout.mask is None and not layout.fields
        if not dense or layout.shape[1:] != wanted:
            raise InputError(what, value=layout.shape, limit=(layout.batch, *wanted))


def _cells(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Cell(width) for _ in range(count)))


def _check_finite(z: Tensor) -> None:
    if not bool(torch.isfinite(z.sum())):
        bad = int((~torch.isfinite(z)).sum())
        if bad:
            raise NonFiniteError(
                "the latents have NaN or infinite entries",
                value=bad,
                limit=0,
                fix="check the weights of the encoder; lower the learning rate",
            )
