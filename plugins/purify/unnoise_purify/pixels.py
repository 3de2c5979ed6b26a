"""Pictures in [0, 1], as classifiers take them, and the data of a model of pictures.

Of the model three things are needed, and each is asked of it as the engine asks: the shape and the
condition are those of the task that its domain plans for a request, and the range is that of its
data type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.domain import Draw, Task, Trained
from unnoise.engine.options import Options
from unnoise.errors import InputError
from unnoise.fields import requested
from unnoise.objectives import Quantised
from unnoise.spaces import Layout

SLACK: Final = 1e-5
"""How far numbers may lie outside of [0, 1]: what float32 makes of a step and its way back."""


@final
@dataclass(frozen=True, eq=False)
class Pixels:
    """How pictures (B, C, H, W) in [0, 1] are data of a model.

    Attributes
    ----------
    shape : (C, H, W).
    low, high : the model's black and white.
    told : what the model is told of one picture, one row of each tensor.
    """

    shape: tuple[int, int, int]
    low: float
    high: float
    told: Mapping[str, Tensor]

    def layout(self, batch: int, like: Tensor) -> Layout:
        """Of the data of a batch."""
        return Layout.dense(batch, self.shape, dtype=torch.float32, device=like.device)

    def condition(self, batch: int, device: torch.device) -> dict[str, Tensor] | None:
        """What the model is told of each of a batch."""
        if not self.told:
            return None
        return {
            name: value.to(device).expand(batch, *value.shape[1:])
            for name, value in self.told.items()
        }

    def data(self, x: Float[Tensor, "batch c h w"]) -> Tensor:
        """Pictures as data."""
        return self.low + x.float() * (self.high - self.low)

    def unit(self, data: Tensor) -> Float[Tensor, "batch c h w"]:
        """Data as pictures, cut off at black and white."""
        return ((data - self.low) / (self.high - self.low)).clamp(0, 1)

    def check(self, x: Tensor) -> None:
        """Raise InputError unless `x` are pictures of this size in [0, 1]."""
        check_unit(x)
        if tuple(x.shape[1:]) != self.shape:
            raise InputError(
                "the pictures have another size than the model",
                value=tuple(x.shape[1:]),
                limit=f"{self.shape} (channels, height, width)",
                fix="resize them, or use a model of their size",
            )


def check_unit(x: Tensor) -> None:
    """Raise InputError unless `x` is NCHW, floating point and in [0, 1]."""
    if not isinstance(x, Tensor) or x.ndim != 4 or not x.dtype.is_floating_point:
        raise InputError(
            "pictures are a floating-point tensor (batch, channels, height, width)",
            value=(tuple(x.shape), x.dtype) if isinstance(x, Tensor) else type(x).__name__,
        )
    if not x.numel():
        return
    seen = x.detach()
    least, most = float(seen.min()), float(seen.max())
    if not (least >= -SLACK and most <= 1 + SLACK):  # NaN, too
        raise InputError(
            "pictures have values outside of [0, 1]",
            value=(least, most),
            limit="0 to 1",
            fix="divide levels by 255; undo the classifier's normalisation",
        )


def pixels_of(model: Trained, **request: Any) -> Pixels:
    """The pictures of a model. `request` are the fields of its domain that it cannot do without,
    such as a prompt.

    Raises InputError when it is no model of pictures.
    """
    domain = model.domain
    asked = domain.prepare(requested(domain.Request, request), model, requested(Options, {}))
    plan = domain.plan(asked, model, [Draw(0, 0, 0)])
    task = next(plan)
    plan.close()
    data = domain.data_type(model.configuration)
    if not isinstance(task, Task) or not isinstance(data, Quantised):
        raise InputError(
            f"a model of the domain {domain.name!r} is not known to be one of pictures",
            value=type(data).__name__,
            limit="Quantised data, one task for a request",
            fix="use Purifier itself on its data",
        )
    shape = model.codec.data_layout(task.layout).shape
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise InputError(
            f"a model of the domain {domain.name!r} makes no pictures",
            value=shape[1:],
            limit="(1 or 3, height, width)",
            fix="use Purifier itself on its data",
        )
    _, channels, height, width = shape
    return Pixels((channels, height, width), data.low, data.high, dict(task.condition or {}))
