"""The goal energy: how likely a noisy picture is, as one number, by recovery likelihood (Gao 2021).

    f(x_t, t) = g(x_t, t) - b_t^2 |x_t|^2 / 2,

g a network that is 0 before it has learned anything: then the law is N(0, 1) at every level. The
last level keeps a little of the data (log SNR -5): given a level that keeps nothing, the one before
it would have to be found from anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Condition, Energy
from unnoise.kernels import GaussianKernel, Schedule, VPCosine
from unnoise.objectives import RecoveryLikelihood
from unnoise.samplers import Recovery
from unnoise.spaces import Euclidean, Layout
from unnoise_images.configuration import Configuration
from unnoise_images.network import Told

LEVELS: Final = 6
SCHEDULE: Final = VPCosine(-5.0, 10.0)
WIDTH: Final = 0.1
LANGEVIN: Final = Recovery(15, 0.6)


class Layer(nn.Module):
    """x + conv(silu(modulate(conv(silu(x))))): without norms, which would hide how strong a picture
    is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        scale, shift = modulation[:, :, None, None].chunk(2, 1)
        h = torch.addcmul(shift, self.conv1(F.silu(x)), 1 + scale)
        return x + 0.3 * self.conv2(F.silu(h))


@final
class Number(Told):
    """(x_t, t, label) -> f, one number per sample."""

    def __init__(
        self,
        channels: int,
        classes: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        schedule: Schedule,
        width: float,
    ) -> None:
        super().__init__(classes)
        self.schedule, self.width = schedule, width
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.stacks = nn.ModuleList(
            nn.ModuleList(Layer(width) for _ in range(count))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.sizes = [2 * w for w, stack in zip(widths, self.stacks, strict=True) for _ in stack]
        self.sizes.append(widths[-1])
        self.modulate = self.modulations(self.sizes)
        self.out = nn.Conv2d(widths[-1], widths[-1], 1)
        self.last = nn.Parameter(torch.zeros(widths[-1]))

    def forward(
        self,
        x_t: Tensor,
        label: Tensor,
        layout: Layout | None = None,
        condition: Condition = None,
    ) -> Tensor:
        table = self.modulate(self.told(label, condition))
        *modulations, gain = table.split(self.sizes, 1)
        each = iter(modulations)
        h = self.stem(x_t)
        for number, stack in enumerate(self.stacks):
            if number:
                h = self.shrink[number - 1](F.silu(h))
            for block in stack:
                h = block(h, next(each))
        h = F.silu(self.out(h)).sum((2, 3))
        g = ((1 + gain) * h * self.last).sum(1)
        b2 = torch.as_tensor(self.schedule.sigma(label.double())) ** 2 + self.width**2
        return g - b2.to(g.dtype) * x_t.square().sum((1, 2, 3)) / 2


def energy(configuration: Configuration) -> Energy:
    """A denoiser with fresh weights."""
    channels, _, _ = configuration.size
    network = Number(
        channels,
        len(configuration.classes or ()),
        configuration.widths,
        configuration.blocks,
        SCHEDULE,
        WIDTH,
    )
    return Energy(network, GaussianKernel(Euclidean(), SCHEDULE), WIDTH)


def recovery(configuration: Configuration) -> RecoveryLikelihood:
    """The objective."""
    return RecoveryLikelihood(LEVELS, LANGEVIN)
