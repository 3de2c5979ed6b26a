"""The networks of both stages: the U-Net of `unnoise_images`, told a caption, and for the upsampler
a small picture.

    base        F(x_t, t, caption)
    upsampler   F(x_t, t, caption, low, level),    low = sqrt(1 - level^2) small + level eps

All states of the caption stand beside the positions in the attention of the lowest resolution, and
the state of its first token is added to the embedding of the time (Nichol 2021, GLIDE). The
upsampler sees `low`, enlarged, as further channels, and the strength `level` of its noise beside
the time (Ho 2022, cascaded diffusion).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Condition
from unnoise.errors import InputError
from unnoise_images.network import EMBEDDING, FREQUENCIES, Attention, Known, Trunk, mapping
from unnoise_text2image.painting import KEPT
from unnoise_text2image.text import TextEncoder


@final
class CaptionedUNet(Trunk):
    """A trunk that is told a caption, {"ids": (B, L) int64, "mask": (B, L) bool}, and where it is
    an upsampler {"low": (B, C, h, w), "level": (B,)} besides.

    Parameters: see `Trunk`, and

    text : the encoder of captions.
    upsampler : whether there is a small picture to enlarge.
    painter : whether there are channels for a known part, {"kept": (B, C + 1, H, W)}.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        text: TextEncoder,
        outputs: int = 1,
        exponents: Sequence[int] = (),
        *,
        upsampler: bool = False,
        painter: bool = False,
    ) -> None:
        beside = channels * upsampler + (channels + 1) * painter
        super().__init__(channels, widths, blocks, outputs, exponents, beside)
        self.painter = painter
        if painter:
            nn.init.zeros_(self.stem.weight.data[:, channels:])
        self.text = text
        self.pooled = nn.Linear(text.width, EMBEDDING)
        self.attentions = nn.ModuleList(
            [Attention(widths[-1], tokens=text.width) for _ in range(blocks[-1])]
        )
        self.level = mapping(FREQUENCIES) if upsampler else None

    def known(self, time: Tensor, condition: Condition) -> Known:
        if condition is None:
            raise InputError("this network is told a caption", value=None, fix="pass ids and mask")
        states = self.text(condition["ids"], condition["mask"])
        embedding = self.embedding(time, None) + self.pooled(states[:, 0])
        if self.level is not None:
            embedding = embedding + self.level(self.waves(condition["level"].to(time)))
        return Known(F.silu(embedding), states)

    def attended(self, block: int, h: Tensor, known: Known) -> Tensor:
        attended: Tensor = self.attentions[block](h, known.tokens)
        return attended

    def beside(self, x: Tensor, condition: Condition) -> Tensor:
        if self.painter:
            return torch.cat([x, _kept(x, condition)], 1)
        if self.level is None or condition is None:
            return x
        low = F.interpolate(condition["low"].to(x), size=x.shape[-2:], mode="bilinear")
        return torch.cat([x, low], 1)


def _kept(x: Tensor, condition: Condition) -> Tensor:
    """The known part, of the size of `x`; nothing is known where it is not told."""
    batch, channels, height, width = x.shape
    if condition is None or KEPT not in condition:
        return x.new_zeros(batch, channels + 1, height, width)
    kept = condition[KEPT].to(x)
    return F.pad(kept, (0, width - kept.shape[-1], 0, height - kept.shape[-2]))
