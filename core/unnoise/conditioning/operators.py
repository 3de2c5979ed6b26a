"""What was measured of a state, by name: blur(2), downsample(4).

Linear maps of the last two axes of a dense state, the same for all that lies before them. Both keep
a constant as it is, so that they mean the same before and after a codec that scales and shifts.
"""

from __future__ import annotations

import ast
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import InputError, nearest
from unnoise.spaces import Layout, State, tensor

_CALL: Final = re.compile(r"\s*([A-Za-z_]+)\s*(?:\(([^()]*)\))?\s*")
_WIDTHS: Final = 4
"""Standard deviations of a blur after which its kernel is cut off."""


class Operator(ABC):
    """A linear map A of states (B, ..., H, W)."""

    @abstractmethod
    def __call__(self, x0: State, layout: Layout) -> Float[Tensor, "batch ..."]:
        """A x_0. InputError for states that it is not for."""

    @abstractmethod
    def size(self, height: int, width: int) -> tuple[int, int]:
        """Of what is seen of a state of this size."""


@final
@dataclass(frozen=True)
class Blur(Operator):
    """Each entry becomes an average of those around it with Gaussian weights; at the edges of those
    that are there.

    Attributes
    ----------
    width : standard deviation in entries, above 0.
    """

    width: float

    def __post_init__(self) -> None:
        if not 0 < self.width <= 64:
            raise InputError("a blur has a width", value=self.width, limit="above 0, up to 64")

    def __call__(self, x0: State, layout: Layout) -> Float[Tensor, "batch ..."]:
        x = _dense(tensor(x0), layout)
        down, across = (self._matrix(n, x) for n in x.shape[-2:])
        return down @ x @ across.T

    def size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def _matrix(self, n: int, like: Tensor) -> Tensor:
        at = torch.arange(n, dtype=torch.float64)
        apart = (at[:, None] - at).abs()
        weights = torch.exp(-0.5 * (apart / self.width) ** 2)
        weights = weights.where(apart <= max(1.0, _WIDTHS * self.width), torch.zeros(()))
        return (weights / weights.sum(1, keepdim=True)).to(like)


@final
@dataclass(frozen=True)
class Downsample(Operator):
    """Means of squares of `factor` x `factor` entries: to be undone by super-resolution.

    Attributes
    ----------
    factor : at least 2; divides both axes.
    """

    factor: int

    def __post_init__(self) -> None:
        if not (isinstance(self.factor, int) and self.factor >= 2):
            raise InputError("a factor is a whole number", value=self.factor, limit=">= 2")

    def __call__(self, x0: State, layout: Layout) -> Float[Tensor, "batch ..."]:
        x = _dense(tensor(x0), layout)
        height, width = self.size(*x.shape[-2:])
        k = self.factor
        return x.reshape(*x.shape[:-2], height, k, width, k).mean((-3, -1))

    def size(self, height: int, width: int) -> tuple[int, int]:
        k = self.factor
        if height % k or width % k:
            raise InputError("the factor divides both axes", value=k, limit=f"{height} x {width}")
        return height // k, width // k


NAMED: Final[Mapping[str, type[Blur] | type[Downsample]]] = {"blur": Blur, "downsample": Downsample}


def operator_named(text: str) -> Operator:
    """The operator that `text` says, blur(2) for instance; nothing in it is executed.

    Raises
    ------
    InputError : there is no operator of this name, or its argument is no number that it takes.
    """
    found = _CALL.fullmatch(text)
    kind = NAMED.get(found[1]) if found else None
    if found is None or kind is None:
        known = ", ".join(f"{name}(..)" for name in NAMED)
        fix = nearest(found[1], NAMED) if found else f"one of {known}"
        raise InputError("there is no such operator", value=text, limit=known, fix=fix)
    try:
        value = ast.literal_eval((found[2] or "").strip())
    except (ValueError, SyntaxError):
        value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{found[1]} takes one number", value=text, fix=f"{found[1]}(2)")
    return kind(value)  # type: ignore[arg-type]  # a factor checks that it is whole


def _dense(x: Tensor, layout: Layout) -> Tensor:
    if x.ndim < 3 or layout.index is not None:
        raise InputError("this operator is for dense states (B, ..., H, W)", value=tuple(x.shape))
    return x
