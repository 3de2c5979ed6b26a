"""What is done to pictures in training so that few of them say more."""

from __future__ import annotations

import torch
from torch import Tensor


def augmented(picture: Tensor, flip: bool, shift: int) -> Tensor:
    """A picture (channels, height, width) or its mirror image, one as likely as the other, moved by
    up to `shift` pixels down or up and to a side; what comes in continues the edge. Drawn from
    torch's default generator."""
    if flip and bool(torch.rand(()) < 0.5):
        picture = picture.flip(-1)
    if shift:
        down, right = torch.randint(-shift, shift + 1, (2,)).tolist()
        _, height, width = picture.shape
        rows = (torch.arange(height) - down).clamp(0, height - 1)
        columns = (torch.arange(width) - right).clamp(0, width - 1)
        picture = picture[:, rows][:, :, columns]
    return picture
