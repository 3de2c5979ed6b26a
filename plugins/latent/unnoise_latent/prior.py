"""The prior's network: residual convolutions over a few places of many channels.

At 4 x 4 a convolution of 3 x 3 sees most of the latents and attention has nothing to add; adaptive
group norms tell every block the time and the class. See the README for what it costs.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Condition
from unnoise.errors import ConfigError
from unnoise.kernels import Schedule
from unnoise.spaces import Layout

_FREQUENCIES: Final = 64


def normalised(channels: int) -> nn.GroupNorm:
    """Group norm in groups of about 16 channels."""
    return nn.GroupNorm(math.gcd(max(1, channels // 16), channels), channels)


class Block(nn.Module):
    """x + conv(silu(modulate(norm(conv(silu(norm(x)))))))."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = normalised(width), normalised(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * width)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.modulate(told)[:, :, None, None].chunk(2, 1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return x + self.conv2(F.silu(h))


class PriorNetwork(nn.Module):
    """The noise in z_t, sigma_t z_t + f(z_t, time, class) with f = 0 at first: that of latents
    that are N(0, I), where the schedule preserves the variance. A mixed score of it begins with the
    normal law whatever the share c of the network is, and c need not be small.

    Parameters
    ----------
    schedule : of the label.
    channels : of the latents.
    classes : number of classes; the label `classes` stands for "no label".
    """

    def __init__(
        self, schedule: Schedule, channels: int, classes: int, width: int, layers: int
    ) -> None:
        super().__init__()
        self.schedule, self.channels, self.classes = schedule, channels, classes
        self.label = nn.Embedding(classes + 1, width)
        self.time = nn.Sequential(
            nn.Linear(_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        exponent = torch.arange(_FREQUENCIES // 2) / (_FREQUENCIES // 2)
        self.register_buffer("frequencies", 1000 * 1e-4**exponent, persistent=False)
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList([Block(width, width) for _ in range(layers)])
        self.norm = normalised(width)
        self.out = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, x_t: Tensor, label: Tensor, layout: Layout | None = None, condition: Condition = None
    ) -> Tensor:
        """x_t (B, channels, h, w), label (B,) the time, condition {"label": (B,) int64}.

        Raises ConfigError for latents of another number of channels.
        """
        if x_t.ndim != 4 or x_t.shape[1] != self.channels:
            raise ConfigError(
                "the codec's latents do not fit the prior",
                value=tuple(x_t.shape),
                limit=f"(B, {self.channels}, h, w)",
            )
        if condition is None:
            classes = torch.full(label.shape, self.classes, device=label.device)
        else:
            classes = condition["label"]
        angle = label[:, None] * self.frequencies
        told = F.silu(self.time(torch.cat([angle.cos(), angle.sin()], 1)) + self.label(classes))
        h = self.stem(x_t.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = block(h, told)
        sigma = torch.as_tensor(self.schedule.sigma(label.double())).to(x_t.dtype)
        return torch.addcmul(self.out(F.silu(self.norm(h))), sigma[:, None, None, None], x_t)
