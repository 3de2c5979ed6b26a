"""The goal adversarial: a denoising diffusion GAN of pictures (Xiao 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Condition
from unnoise.objectives import Adversarial
from unnoise.spaces import Layout
from unnoise_images.configuration import Configuration
from unnoise_images.network import Block, Told

NOISE: Final = 64
"""Numbers that a generator draws from for each step of a picture."""


@final
class Discriminator(Told):
    """(x_s, x_t, t, label) -> one number per sample: the way down of the U-Net, with the widths and
    blocks of the generator, and a mean over what is left of the picture. No sample sees another
    one, as statistics of a batch would."""

    def __init__(
        self, channels: int, classes: int, widths: Sequence[int], blocks: Sequence[int]
    ) -> None:
        super().__init__(classes)
        self.stem = nn.Conv2d(2 * channels, widths[0], 3, padding=1)
        self.stacks = nn.ModuleList(
            nn.ModuleList(Block(width) for _ in range(max(1, count)))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.sizes = [2 * w for w, stack in zip(widths, self.stacks, strict=True) for _ in stack]
        self.modulate = self.modulations(self.sizes)
        self.out = nn.Linear(widths[-1], 1)

    def forward(
        self,
        x_s: Tensor,
        x_t: Tensor,
        label: Tensor,
        layout: Layout | None = None,
        condition: Condition = None,
    ) -> Tensor:
        """x_s, x_t (B, C, H, W), label (B,) the time, condition {"label": (B,)} -> (B,)."""
        table = self.modulate(self.told(label, condition))
        modulations = iter(table.split(self.sizes, 1))
        h = self.stem(torch.cat([x_s, x_t], 1))
        for number, stack in enumerate(self.stacks):
            if number:
                h = self.shrink[number - 1](h)
            for block in stack:
                h = block(h, next(modulations))
        found: Tensor = self.out(F.silu(h).mean((2, 3)))
        return found[:, 0]


def adversarial(configuration: Configuration) -> Adversarial:
    """The two turns, with a discriminator of fresh weights."""
    channels, _, _ = configuration.size
    judge = Discriminator(
        channels,
        len(configuration.classes or ()),
        configuration.widths,
        configuration.blocks,
    )
    return Adversarial(judge, configuration.chain)
