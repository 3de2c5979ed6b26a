"""Painting into a picture by a network that is told the rest of it (Nichol 2021, GLIDE, 2.4).

Beside x_t the network sees four further channels, the known part of the picture and where that is,

    kept = (known x_0, known),    known 1 where the picture is kept and 0 where it is painted,

whose weights begin at 0, so that a run that starts from a model of words alone begins as that. In
training a random part is hidden: everything, a rectangle, or all but a rectangle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unnoise.denoise import Denoiser
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Objective
from unnoise.spaces import Layout, tensor

KEPT: Final = "kept"
_ALL, _INSIDE = 0.25, 0.75  # below: everything is hidden, a rectangle is; above: all but one


def kept_part(
    x0: Float[Tensor, "batch c h w"], known: Bool[Tensor, "batch 1 h w"]
) -> Float[Tensor, "batch more h w"]:
    """What the network is told of the known part."""
    seen = known.to(x0)
    return torch.cat([x0 * seen, seen], 1)


def known_parts(
    height: int, width: int, u: Float[Tensor, "batch 5"]
) -> Bool[Tensor, "batch 1 h w"]:
    """Where pictures are known, for five uniform numbers each: which kind, and two corners."""
    down = _between(height, u[:, 1:3])
    across = _between(width, u[:, 3:5])
    inside = down[:, None, :, None] & across[:, None, None, :]
    kind = u[:, 0].view(-1, 1, 1, 1)
    return torch.where(kind < _INSIDE, ~inside, inside) & (kind >= _ALL)


def _between(size: int, u: Float[Tensor, "batch 2"]) -> Bool[Tensor, "batch size"]:
    """The places between two random ones."""
    ends = (u * (size + 1)).floor().clamp(max=size).sort(1).values
    place = torch.arange(size, device=u.device)
    return (place >= ends[:, :1]) & (place < ends[:, 1:])


@final
@dataclass(frozen=True, eq=False)
class Painted(Objective):
    """An objective of a network that paints: a random part of each picture is known to it.

    Attributes
    ----------
    objective : of the batch with `kept` in its condition.
    """

    objective: Objective

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        x0 = tensor(batch.x0)
        rows = Layout.dense(len(x0), (5,), device=x0.device)
        known = known_parts(*x0.shape[-2:], noise.uniform(rows))
        condition = {**(batch.condition or {}), KEPT: kept_part(x0, known)}
        return self.objective(denoiser, replace(batch, condition=condition), noise)

    def others(self) -> Mapping[str, nn.Module]:
        return self.objective.others()
