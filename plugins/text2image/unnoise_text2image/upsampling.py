"""The law that an upsampler learns: a large picture given a noisy small one.

    small = the means of the pixels of x_0 in squares of k x k
    low   = sqrt(1 - s^2) small + s eps,     s ~ U(0, S) in training, told to the network

(Ho 2022, "conditioning augmentation"): the upsampler then forgives what the base does wrong below
the level s, and the level is chosen when pictures are made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Denoiser
from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Objective
from unnoise.spaces import Layout


def reduced(x: Float[Tensor, "*rows c h w"], factor: int) -> Float[Tensor, "*rows c low_h low_w"]:
    """Means over squares of `factor` x `factor` pixels."""
    return F.avg_pool2d(x, factor) if factor > 1 else x


def augmented(
    small: Float[Tensor, "batch c h w"], level: Float[Tensor, " batch"], noise: NoiseSource
) -> Float[Tensor, "batch c h w"]:
    """`small` with noise of strengths `level` on it; nothing is drawn where all are 0."""
    if not bool((level != 0).any()):
        return small
    s = level.to(small).view(-1, 1, 1, 1)
    layout = Layout.dense(len(small), small.shape[1:], dtype=small.dtype, device=small.device)
    return (1 - s**2).sqrt() * small + s * noise.normal(layout)


@final
@dataclass(frozen=True, eq=False)
class Augmented(Objective):
    """An objective of an upsampler, whose small picture gets noise of a random strength.

    Attributes
    ----------
    objective : of the batch with a noisy `low` and its `level`.
    largest : strength of the noise.
    """

    objective: Objective
    largest: float

    def __post_init__(self) -> None:
        if not 0 <= self.largest < 1 or not math.isfinite(self.largest):
            raise ConfigError("a strength of noise", value=self.largest, limit="[0, 1)")

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        condition = dict(batch.condition or {})
        if "low" not in condition:
            raise ConfigError("an upsampler's batch has small pictures", value=sorted(condition))
        rows = Layout.dense(batch.layout.batch, device=batch.layout.device)
        level = self.largest * noise.uniform(rows).to(torch.float32)
        condition |= {"low": augmented(condition["low"], level, noise), "level": level}
        return self.objective(denoiser, replace(batch, condition=condition), noise)

    def others(self) -> Mapping[str, nn.Module]:
        return self.objective.others()
