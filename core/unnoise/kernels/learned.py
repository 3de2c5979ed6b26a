"""A schedule with parameters of its own (Kingma 2021, Variational diffusion models).

    gamma(t) = -log SNR(t) = g_0 + (g_1 - g_0) r(t),    r(t) = (n(t) - n(0)) / (n(1) - n(0)),
    alpha^2 = sigmoid(-gamma),  sigma^2 = sigmoid(gamma).

The variational bound depends on the end points g_0 and g_1 alone; the interior n, any increasing
function, only changes how noisy its estimate is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, final

import torch
from torch import Tensor, nn

from unnoise.errors import ConfigError
from unnoise.kernels.schedules import Schedule
from unnoise.spaces import Time

_Function: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class Interior(nn.Module, ABC):
    """n(t), strictly increasing on [0, 1]. It is normalised by the schedule."""

    @abstractmethod
    def forward(self, t: Tensor) -> Tensor:
        """n(t), float64, of the shape of t."""

    @abstractmethod
    def slope(self, t: Tensor) -> Tensor:
        """n'(t) > 0."""


@final
class LinearInterior(Interior):
    """n(t) = t. With learned end points this is the learned scalar b + |w| t."""

    def forward(self, t: Tensor) -> Tensor:
        return t

    def slope(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)


@final
class MonotoneInterior(Interior):
    """n(t) = t + mean_j |c_j| S(|b_j| t + d_j): a line and `width` logistic steps S, the weights
    positive. It begins near the line."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError("a monotone network has a width", value=width, limit=">= 1")
        steepness = 4 * torch.rand(width) + 4
        self.height = nn.Parameter(0.1 * torch.rand(width))
        self.steepness = nn.Parameter(steepness)
        self.shift = nn.Parameter(-steepness * torch.rand(width))

    def forward(self, t: Tensor) -> Tensor:
        return t + (self.height.double().abs() * self._steps(t)).mean(-1)

    def slope(self, t: Tensor) -> Tensor:
        s = self._steps(t)
        rates = self.height.double().abs() * self.steepness.double().abs() * s * (1 - s)
        return 1 + rates.mean(-1)

    def _steps(self, t: Tensor) -> Tensor:
        return torch.sigmoid(self.steepness.double().abs() * t[..., None] + self.shift.double())


class Position(NamedTuple):
    """r(t) in [0, 1] and r'(t): where the interior of a schedule is at time t."""

    r: Tensor
    slope: Tensor


@final
class LearnedSchedule(nn.Module, Schedule):
    """Variance preserving with log SNR from -g_0 to -g_1 along `interior`.

    Time 0 is the data itself; `gamma(0)` is the limit g_0 = `gamma_min` of the times above it.
    Given tensors, every function is differentiable in the parameters; given a float it returns
    one. As a part of a `GaussianKernel` it is trained and saved with the `NetworkDenoiser`.

    Parameters
    ----------
    ends : whether g_0 and g_1 are parameters, that a bound is minimised over, or stay.
    """

    first: Tensor
    span: Tensor

    def __init__(
        self,
        interior: Interior | None = None,
        gamma_min: float = -13.3,
        gamma_max: float = 5.0,
        ends: Literal["learned", "fixed"] = "learned",
    ) -> None:
        super().__init__()
        if not (math.isfinite(gamma_min) and math.isfinite(gamma_max) and gamma_min < gamma_max):
            raise ConfigError(
                "a schedule's end points are in order",
                value=(gamma_min, gamma_max),
                limit="gamma_min < gamma_max",
            )
        if ends not in ("learned", "fixed"):
            raise ConfigError("unknown kind of end points", value=ends, limit="learned, fixed")
        self.interior = LinearInterior() if interior is None else interior
        values = [torch.tensor(v, dtype=torch.float64) for v in (gamma_min, gamma_max - gamma_min)]
        for name, value in zip(("first", "span"), values, strict=True):
            if ends == "learned":
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    @property
    def steps(self) -> int | None:
        return None

    def position(self, t: Tensor) -> Position:
        """r(t) and r'(t), float64."""
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=t.device)
        low, high = self.interior(ends).unbind()
        scale = high - low
        return Position((self.interior(t) - low) / scale, self.interior.slope(t) / scale)

    def gamma(self, r: Tensor) -> Tensor:
        """-log SNR at a position r of the interior."""
        return self.first + self.span.abs() * r

    def alpha(self, t: Time) -> Time:
        return self._at(t, lambda g, _: torch.sigmoid(-g).sqrt(), clean=1.0)

    def sigma(self, t: Time) -> Time:
        return self._at(t, lambda g, _: torch.sigmoid(g).sqrt(), clean=0.0)

    def d_alpha(self, t: Time) -> Time:
        return self._at(t, lambda g, d: -0.5 * torch.sigmoid(-g).sqrt() * torch.sigmoid(g) * d)

    def d_sigma(self, t: Time) -> Time:
        return self._at(t, lambda g, d: 0.5 * torch.sigmoid(g).sqrt() * torch.sigmoid(-g) * d)

    def _at(self, t: Time, function: _Function, clean: float | None = None) -> Time:
        """function(gamma, gamma') at t, and `clean` at t = 0."""
        if not isinstance(t, Tensor):
            if t == 0 and clean is not None:
                return clean
            with torch.no_grad():
                at = torch.tensor([t], dtype=torch.float64, device=self.first.device)
                return float(self._at(at, function))
        r, slope = self.position(t)
        value = function(self.gamma(r), self.span.abs() * slope)
        return value if clean is None else torch.where(t == 0, clean, value)
