"""The goal adversarial: a denoising diffusion GAN of pictures (Xiao 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Condition
from unnoise.objectives import Adversarial
from unnoise.spaces import Layout
from unnoise_images.configuration import Configuration
from unnoise_images.network import Block, Told, mapping

NETWORK: Final = "denoiser.network."
JUDGE: Final = "others.discriminator."
NOISE: Final = 64
"""Numbers that a generator draws from for each step of a picture."""


@final
class Discriminator(Told):
    """(x_s, x_t, t, label) -> one number per sample: the way down of the U-Net, with the widths and
    blocks of the generator, and a sum over what is left of the picture. No sample sees another
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
        size = h.shape[2] * h.shape[3]
        found: Tensor = self.out(F.silu(h).sum((2, 3)) / size**0.5)
        return found[:, 0]


def adversarial(configuration: Configuration) -> Adversarial:
    """The two turns, with a discriminator of fresh weights."""
    return Adversarial(
        discriminator(configuration),
        configuration.chain,
        weight=configuration.r1,
        every=configuration.r1_every,
        rate=configuration.discriminator_rate,
    )


def discriminator(configuration: Configuration) -> Discriminator:
    """One with fresh weights."""
    channels, _, _ = configuration.size
    classes = len(configuration.classes or ())
    return Discriminator(channels, classes, configuration.widths, configuration.blocks)


def begun(configuration: Configuration, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a generator and a discriminator to begin with, from those of a network of
    another goal: the generator is that network, its noise new; the discriminator is its way down,
    which looks at x_s - x_t."""
    judge = discriminator(configuration)
    mine = judge.state_dict()
    theirs = {
        name.removeprefix(NETWORK): value
        for name, value in weights.items()
        if name.startswith(NETWORK)
    }
    for name, value in theirs.items():
        if name.partition(".")[0] in ("time", "label", "shrink") and name in mine:
            mine[name] = value
    last = len(configuration.widths) - 1
    stem = theirs["stem.weight"]
    mine["stem.weight"] = torch.cat([stem, -stem], 1)
    mine["stem.bias"] = theirs["stem.bias"]
    to = of = 0  # rows of `modulate`, the discriminator's and the network's
    for level, count in enumerate(configuration.blocks):
        width = 2 * configuration.widths[level]
        own = f"down.{level}." if level < last else "middle."
        for name, value in theirs.items():
            if name.startswith(own):
                mine[f"stacks.{level}.{name.removeprefix(own)}"] = value
        rows = count * width
        for part in ("modulate.weight", "modulate.bias"):
            mine[part][to : to + rows] = theirs[part][of : of + rows]
        to, of = to + max(1, count) * width, of + rows
    fresh = {f"{NETWORK}noise.{name}": v for name, v in mapping(NOISE).state_dict().items()}
    return {**weights, **fresh, **{f"{JUDGE}{name}": value for name, value in mine.items()}}
