"""What a training step sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.codecs import Codec
from unnoise.denoise import Condition
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Clean data with its layout and condition (tensors with one leading row per sample).

    Attributes
    ----------
    weight : (B,) how much each sample counts in the mean loss, sum_i w_i l_i / sum_i w_i over all
        samples of a step, whatever process has them; by default all count the same.

    Raises
    ------
    InputError : weights that are negative, not finite, or not one per sample.
    """

    x0: State
    layout: Layout
    condition: Condition = None
    weight: Float[Tensor, " batch"] | None = None

    def __post_init__(self) -> None:
        weight = self.weight
        if weight is None:
            return
        if tuple(weight.shape) != (self.layout.batch,):
            raise InputError(
                "a batch has one weight per sample",
                value=tuple(weight.shape),
                limit=(self.layout.batch,),
            )
        if weight.device.type != "cpu":
            return  # it was looked at before it was moved
        bad = weight[~((weight >= 0) & weight.isfinite())]
        if len(bad):
            raise InputError("a sample's weight is finite and not negative", value=float(bad[0]))

    def encoded(self, codec: Codec, noise: NoiseSource | None = None) -> Batch:
        """The batch as states of `codec`: what denoisers and their losses are about."""
        x0, layout = codec.embed(self.x0, self.layout, self.condition, noise)
        return replace(self, x0=x0, layout=layout)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        x0 = self.x0
        if isinstance(x0, Tensor):
            moved: State = x0.to(device)
        else:
            moved = {n: x.to(device) for n, x in x0.items()}
        condition = self.condition and {n: c.to(device) for n, c in self.condition.items()}
        weight = None if self.weight is None else self.weight.to(device)
        return Batch(moved, self.layout.to(device), condition, weight)
