"""The network of the MDCT vocoder: ConvNeXt blocks (Liu 2022, as Vocos has them) at frame rate.

Every frame is one vector: the noisy coefficients beside what the mel says. A block mixes `kernel`
neighbouring frames channel by channel, and then the channels of each frame:

    h <- h + g MLP(LN(conv(h)) (1 + a(t)) + b(t)),

where a and b say how noisy the state is. Nothing is averaged over time: a frame depends on `reach`
frames on each side and no other, so that a piece of a long sound can be made on its own.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Condition
from unnoise.errors import InputError
from unnoise.spaces import Layout
from unnoise_audio.configuration import Configuration
from unnoise_audio.mel import log_bands

_ANGLES = 16  # of the noise level's embedding


@final
class Block(nn.Module):
    """One residual block; `scale` is g at the start."""

    def __init__(self, width: int, expansion: int, kernel: int, scale: float) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.level = nn.Linear(width, 2 * width)
        self.wide = nn.Linear(width, expansion * width)
        self.narrow = nn.Linear(expansion * width, width)
        self.gate = nn.Parameter(torch.full((width,), scale))

    def forward(
        self, h: Float[Tensor, "batch frames width"], level: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch frames width"]:
        mixed = self.norm(self.mix(h.transpose(1, 2)).transpose(1, 2))
        a, b = self.level(level)[:, None].chunk(2, -1)
        return h + self.gate * self.narrow(F.gelu(self.wide(torch.addcmul(b, mixed, 1 + a))))


@final
class FrameNet(nn.Module):
    """F(z_t, t | mel).

    Attributes
    ----------
    reach : frames on each side that an output depends on.
    """

    angles: Tensor

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        own = configuration
        self.mel, self.known = own.mel, own.known
        self.reach = own.reach
        self.input = nn.Linear(own.mel.hop + own.mel.mels, own.width)
        self.embedding = nn.Sequential(
            nn.Linear(2 * _ANGLES, own.width), nn.SiLU(), nn.Linear(own.width, own.width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(
            Block(own.width, own.expansion, own.kernel, 1 / own.layers) for _ in range(own.layers)
        )
        self.norm = nn.LayerNorm(own.width)
        self.output = nn.Linear(own.width, own.mel.hop)
        self.register_buffer(
            "angles", math.pi * torch.arange(1, _ANGLES + 1).float(), persistent=False
        )

    def forward(
        self,
        x: Float[Tensor, "batch frames hop"],
        t: Float[Tensor, " batch"],
        layout: Layout,
        condition: Condition = None,
    ) -> Float[Tensor, "batch frames hop"]:
        """`condition` has "mel" (B, frames, mels)."""
        if condition is None or "mel" not in condition:
            raise InputError("a vocoder is told the mel", value=condition, fix="pass mel")
        bands = (log_bands(condition["mel"], self.mel) - self.known.mean) / self.known.spread
        angle = t[:, None] * self.angles
        level = self.embedding(torch.cat([angle.sin(), angle.cos()], -1))
        h = self.input(torch.cat([x, bands], -1))
        for block in self.blocks:
            h = block(layout.zero_padding(h), level)
        return layout.zero_padding(self.output(self.norm(h)))
