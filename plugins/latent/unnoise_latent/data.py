"""Folders of pictures as numbers that a decoder has probabilities for."""

from __future__ import annotations

from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.storage.tensors import digest
from unnoise_images.data import Pictures, read
from unnoise_latent.configuration import Configuration
from unnoise_latent.heads import head_of

THRESHOLD = 127
"""Above it a value is white."""


@final
class Levels(Dataset[tuple[Tensor, int]]):
    """Pictures (channels, height, width) on the levels 0 .. n - 1, in the head's dtype, with their
    labels.

    What is drawn is drawn from torch's default generator, which is seeded before each item: in
    training anew each epoch, of held-out pictures always the same.
    """

    def __init__(self, pictures: Pictures, configuration: Configuration) -> None:
        self.pictures, self.how = pictures, configuration.binarised
        self.dtype = head_of(configuration).dtype

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        values, label = self.pictures[index]
        if self.how == "threshold":
            values = (values > THRESHOLD).float()
        elif self.how == "stochastic":
            values = (torch.rand(values.shape) < values / 255).float()
        return values.to(self.dtype), label

    @property
    def fingerprint(self) -> str:
        """A hash of all pictures, labels and what is made of them."""
        return digest(self.pictures.fingerprint, self.how)


def dataset(
    source: Any, configuration: Configuration, part: Literal["train", "validation"]
) -> Levels:
    """One part of a folder of pictures."""
    return Levels(read(source, configuration.pictures, part), configuration)
