"""What an attack ascends, one number for each picture: high where the answer is wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


class Loss(ABC):
    """Of logits (B, classes) and labels (B,). Closed: `CrossEntropy`, `Margin`."""

    name: str

    @abstractmethod
    def __call__(
        self, logits: Float[Tensor, "batch classes"], y: Int64[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """(B,)."""


@final
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """-log softmax_y. Its gradient vanishes where the classifier is sure."""

    name = "ce"

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y, reduction="none")


@final
@dataclass(frozen=True)
class Margin(Loss):
    """max over k != y of z_k - z_y (Carlini & Wagner 2017), whose gradient does not vanish."""

    name = "margin"

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        own = F.one_hot(y, logits.shape[1]).bool()
        other = logits.masked_fill(own, -float("inf")).amax(1)
        return other - logits[own]
