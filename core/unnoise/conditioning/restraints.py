"""Restraints of points in space: distances, ranges of them, torsions.

In three dimensions the distance rho of two points whose difference is N(m, v) has the density

    p(rho) = (rho / |m|) (N(rho; |m|, v) - N(rho; -|m|, v)),        rho > 0

so that E g(rho) is a sum of half-line moments of Gaussians for each g that is 1 between two
distances and falls off like a Gaussian outside:

    int_a^b rho N(rho; c, w^2) drho = c (Phi(B) - Phi(A)) - w (phi(B) - phi(A)),
    A = (a - c) / w,  B = (b - c) / w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.conditioning.potentials import Potential, check_positive
from unnoise.distributions import Distribution, Gaussian
from unnoise.errors import InputError
from unnoise.spaces import Layout, State, tensor

_ROOT_2PI: Final = math.sqrt(2 * math.pi)
_NEAR: Final = 1e-2
"""Standard deviations below which |m| makes no difference to p(rho), in which it is even."""
_LEAST: Final = 1e-300


@final
@dataclass(frozen=True)
class Restraint(Potential):
    """The distance of two points of each sample, of states (rows, D) with as many rows for each
    sample as it has points.

        g = N(distance; |r_a - r_b|, scale^2)                          for one distance
        g = 1 between low and high, exp(-(excess / scale)^2 / 2) else  for two (an NOE's range)

    Attributes
    ----------
    points : their places in the sample.
    distance : in the state's units: one, or (low, high) with 0 <= low < high.
    scale : in the state's units, > 0.

    Raises
    ------
    InputError : a scale that is not above 0, no distance; when used, no such point.
    """

    points: tuple[int, int]
    distance: float | tuple[float, float]
    scale: float

    def __post_init__(self) -> None:
        check_positive("the scale of a restraint", self.scale)
        low, high = self._range
        one = not isinstance(self.distance, tuple)
        if not 0 <= low <= high < math.inf or (low == high) != one:
            raise InputError(
                "a restraint is one distance, or a range of them",
                value=self.distance,
                limit="0 <= low < high",
            )
        if len(set(self.points)) != 2:
            raise InputError("a distance is of two points", value=self.points)

    @property
    def _range(self) -> tuple[float, float]:
        if isinstance(self.distance, tuple):
            return self.distance
        return self.distance, self.distance

    @property
    def _height(self) -> float:
        """log g within the range."""
        one = not isinstance(self.distance, tuple)
        return -math.log(self.scale * _ROOT_2PI) if one else 0.0

    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        a, b = points_of(tensor(x0), layout, self.points)
        found: Tensor = (a - b).double().norm(dim=-1)
        low, high = self._range
        excess = ((low - found).clamp(min=0) + (found - high).clamp(min=0)) / self.scale
        return -0.5 * excess.square() + self._height

    def expected(self, law: Distribution, layout: Layout) -> Float[Tensor, " batch"] | None:
        if not isinstance(law, Gaussian) or law.elementwise or law.mean.shape[-1] != 3:
            return super().expected(law, layout)
        a, b = points_of(law.mean, layout, self.points)
        std = torch.as_tensor(law.std, dtype=torch.float64).clamp(min=1e-12)
        v = 2 * std**2
        squares: Tensor = (a - b).double().square().sum(-1)
        m = (squares + (_NEAR**2) * v).sqrt()
        low, high, s = *self._range, self.scale
        total = torch.zeros_like(m)
        for sign in (1.0, -1.0):
            c = sign * m
            # between the two distances, where g is 1
            inside = _moment(c, v.sqrt(), low, high)
            # outside, N(rho; end, s^2) N(rho; c, v) = N(end; c, s^2 + v) N(rho; mix, w^2)
            w = s * (v / (s * s + v)).sqrt()
            for end, first, last in ((low, 0.0, low), (high, high, math.inf)):
                mix = (end * v + c * s * s) / (s * s + v)
                height = s * _ROOT_2PI * _normal(end - c, s * s + v)
                inside = inside + height * _moment(mix, w, first, last)
            total = total + sign * inside
        return (total / m).clamp(min=_LEAST).log() + self._height


@final
@dataclass(frozen=True)
class Torsion(Potential):
    """The torsion of four points near an angle: g = exp((cos(phi - angle) - 1) / scale^2), which
    is N(phi; angle, scale^2) up to a constant where the scale is small.

    Attributes
    ----------
    points : their places in the sample, a chain a-b-c-d.
    angle, scale : radians; scale > 0. The sign is that of IUPAC: clockwise is positive, seen along
        b-c.
    """

    points: tuple[int, int, int, int]
    angle: float
    scale: float

    def __post_init__(self) -> None:
        check_positive("the scale of a torsion", self.scale)
        if len(set(self.points)) != 4 or not math.isfinite(self.angle):
            raise InputError("a torsion is an angle of four points", value=self.points)

    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        a, b, c, d = (p.double() for p in points_of(tensor(x0), layout, self.points))
        axis = c - b
        one, two = torch.linalg.cross(b - a, axis), torch.linalg.cross(axis, d - c)
        length = axis.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        sin = (torch.linalg.cross(one, two) * axis / length).sum(-1)
        cos = (one * two).sum(-1)
        size = (sin.square() + cos.square()).sqrt().clamp(min=1e-12)
        near: Tensor = (cos * math.cos(self.angle) + sin * math.sin(self.angle)) / size
        return (near - 1) / self.scale**2


def points_of(
    x: Float[Tensor, "rows ..."], layout: Layout, places: tuple[int, ...]
) -> list[Float[Tensor, "batch ..."]]:
    """The points of each sample at these places. InputError where a sample has no such point."""
    fewest = int(layout.points.min())
    if max(places) >= fewest or min(places) < 0:
        raise InputError("a sample has no such point", value=places, limit=f"0 to {fewest - 1}")
    if layout.index is None:
        return [x[:, k] for k in places]
    first = layout.points.cumsum(0) - layout.points
    return [x[first + k] for k in places]


def _moment(c: Tensor, w: Tensor, low: float, high: float) -> Tensor:
    """int_low^high rho N(rho; c, w^2) drho."""
    a, b = (low - c) / w, (high - c) / w
    share: Tensor = torch.special.ndtr(b) - torch.special.ndtr(a)
    return c * share - w * (_phi(b) - _phi(a))


def _phi(x: Tensor) -> Tensor:
    found: Tensor = torch.exp(-0.5 * x.square())
    return found / _ROOT_2PI


def _normal(error: Tensor, variance: Tensor) -> Tensor:
    return torch.exp(-0.5 * error.square() / variance) / (variance.sqrt() * _ROOT_2PI)
