"""What an attack ascends, one number for each picture: high where the answer is wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


class Loss(ABC):
    """Of logits (B, classes) and labels (B,). Closed: `CrossEntropy`, `Margin`,
    `Doubt`, `Towards`."""

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


@final
@dataclass(frozen=True)
class Doubt(Loss):
    """log(1 - softmax_y), the log of the probability of a wrong answer.

    Its gradient is that of z_y times softmax_y and less: of several draws of a random defence,
    those that are still right count, where under the cross entropy those do that are lost already.
    """

    name = "doubt"

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        own = F.one_hot(y, logits.shape[1]).bool()
        return logits.log_softmax(1).masked_fill(own, -float("inf")).logsumexp(1)


@final
@dataclass(frozen=True)
class Towards(Loss):
    """log softmax of a class of each picture's own, whatever y: a targeted attack. Logits may be
    those of several draws of the noise, the draws of a picture after each other."""

    targets: Int64[Tensor, " batch"]
    name = "towards a class"

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        each = self.targets.repeat_interleave(len(logits) // len(self.targets))
        return -F.cross_entropy(logits, each, reduction="none")
