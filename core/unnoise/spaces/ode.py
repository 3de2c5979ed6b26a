"""An adaptive Runge-Kutta integrator in which every sample has its own clock.

Of dx/dt = f(x, t), with the Dormand-Prince pair of orders 5 and 4,

    k_i = f(x + h sum_j a_ij k_j, t + c_i h)
    x'  = x + h sum_i b_i k_i                        error e = h sum_i (b_i - b*_i) k_i,

a step is kept where |e| <= 1 in units of atol + rtol |x|, the root mean square over a sample, and
the next one is h min(10, max(0.2, 0.9 |e|^(-1/5))). The step size belongs to a sample, not to the
batch, so that a result does not depend on the neighbours it was computed with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import torch
from torch import Tensor

from unnoise.errors import ConfigError, LimitExceeded, NonFiniteError
from unnoise.spaces.layout import Layout

# Dormand & Prince 1980: the fifth-order rule, and its difference to the embedded fourth-order one.
_NODES: Final = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
_STAGES: Final = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
)
_RULE: Final = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
_ERROR: Final = (
    -71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40,
)  # fmt: skip
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0


class Point(NamedTuple):
    """A state (rows, ...) with one number per sample (B,) that is integrated along."""

    x: Tensor
    value: Tensor


class Solution(NamedTuple):
    """The point at the end, evaluations of the field, and (B,) the step size that came next."""

    point: Point
    evaluations: int
    step: Tensor


Field: TypeAlias = Callable[[Tensor, Tensor], Point]
"""(x, t (B,)) -> (dx/dt, dvalue/dt)."""


def integrate(
    field: Field,
    x: Tensor,
    start: float,
    end: float,
    layout: Layout,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    step: Tensor | None = None,
    limit: int = 20_000,
) -> Solution:
    """Integrate `field` from `start` to `end` in float64, from (x, 0).

    Parameters
    ----------
    rtol, atol : the root mean square, over the entries of a sample with its number, of
        error / (atol + rtol |entry|) stays below 1 in each step.
    step : (B,) the first step sizes, by default from the field's first and second derivative.
    limit : of evaluations of `field`, each of the whole batch.

    Raises
    ------
    ConfigError : a tolerance out of range.
    NonFiniteError : the field is not finite, however small the step.
    LimitExceeded : too many evaluations.
    """
    if not (rtol >= 0 and atol > 0):
        raise ConfigError(
            "a tolerance is out of range", value=(rtol, atol), limit="rtol >= 0, atol > 0"
        )
    sign = 1.0 if end > start else -1.0
    y = Point(x.double(), torch.zeros(layout.batch, dtype=torch.float64, device=x.device))
    t = torch.full_like(y.value, start)
    size = layout.sizes.double()  # its number comes on top: a field may have none

    def norm(of: Point, *like: Point) -> Tensor:
        """(B,) the root mean square in units of the tolerance at the larger of `like`."""
        rows = torch.stack([p.x.abs() for p in like]).amax(0)
        alone = torch.stack([p.value.abs() for p in like]).amax(0)
        squares = layout.sum((of.x / (atol + rtol * rows)) ** 2)
        squares = squares + (of.value / (atol + rtol * alone)) ** 2
        # a step size is a number: gradients go through the steps, not through their choice
        return (squares / size).sqrt().detach()

    def move(by: Tensor, weights: tuple[float, ...], slopes: list[Point]) -> Point:
        """y + by sum_i weights_i slopes_i."""
        return _add(y, by, _combine(weights, slopes), layout)

    slope = field(y.x, t)
    evaluations, rejected = 1, torch.zeros_like(t, dtype=torch.bool)
    if step is None:
        step = _first_step(field, norm, y, slope, t, abs(end - start), sign, layout)
        evaluations += 1
    h = step
    while bool((t != end).any()):
        left = (end - t).abs()
        whole, h = h, torch.minimum(h, left)
        if bool(((h < 1e-10) & (left > 0)).any()):
            bad = torch.nonzero((h < 1e-10) & (left > 0)).flatten().tolist()
            raise NonFiniteError(
                f"the field cannot be integrated beyond t = {float(t[bad[0]]):.3g}",
                value=f"samples {bad[:8]}",
                fix="check the model's predictions there, or end at a larger time",
            )
        slopes = [slope]
        for node, weights in zip(_NODES[1:], _STAGES[1:], strict=True):
            stage = move(sign * h, weights, slopes)
            slopes.append(field(stage.x, t + sign * node * h))
        proposal = move(sign * h, _RULE, slopes)
        slopes.append(field(proposal.x, t + sign * h))
        evaluations += 6
        if evaluations > limit:
            raise LimitExceeded(
                "the probability-flow ODE needs too many evaluations",
                value=evaluations,
                limit=limit,
                fix="a larger tolerance, a larger limit, or a sampler that walks a grid",
            )
        error = _add(Point(y.x * 0, y.value * 0), h, _combine(_ERROR, slopes), layout)
        ratio = norm(error, y, proposal)
        ratio = torch.where(torch.isfinite(ratio), ratio, torch.inf)
        accepted = ratio < 1
        factor = (_SAFETY * ratio.clamp(min=1e-10) ** -0.2).clamp(_SHRINK, _GROW)
        factor = torch.where(accepted & ~rejected, factor, factor.clamp(max=1.0))
        t = torch.where(accepted, torch.where(h >= left, end, t + sign * h), t)
        y = _select(accepted, proposal, y, layout)
        slope = _select(accepted, slopes[-1], slope, layout)
        # a step that was cut short to arrive says nothing against the longer one
        short = accepted & (h < whole)
        h, rejected = torch.where(short, torch.maximum(whole, h * factor), h * factor), ~accepted
    return Solution(y, evaluations, h)


def _first_step(
    field: Field,
    norm: Callable[..., Tensor],
    y: Point,
    slope: Point,
    t: Tensor,
    whole: float,
    sign: float,
    layout: Layout,
) -> Tensor:
    """(B,) a first step by Hairer, Norsett & Wanner, Solving ODEs I, II.4."""
    d0, d1 = norm(y, y), norm(slope, y)
    small = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = torch.where(small, 1e-6, 0.01 * d0 / d1).clamp(max=whole)
    there = _add(y, sign * h0, slope, layout)
    ahead = field(there.x, t + sign * h0)
    change = Point(ahead.x - slope.x, ahead.value - slope.value)
    d2 = norm(change, y) / h0
    largest = torch.maximum(d1, d2)
    h1 = torch.where(largest <= 1e-15, (h0 * 1e-3).clamp(min=1e-6), (0.01 / largest) ** 0.2)
    return torch.minimum(100 * h0, h1).clamp(max=whole)


def _combine(weights: tuple[float, ...], slopes: list[Point]) -> Point:
    x, value = torch.zeros_like(slopes[0].x), torch.zeros_like(slopes[0].value)
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            x, value = x.add(slope.x, alpha=weight), value.add(slope.value, alpha=weight)
    return Point(x, value)


def _add(y: Point, by: Tensor, slope: Point, layout: Layout) -> Point:
    return Point(y.x + layout.expand(by, y.x) * slope.x, y.value + by * slope.value)


def _select(chosen: Tensor, a: Point, b: Point, layout: Layout) -> Point:
    rows = layout.expand(chosen.double(), a.x) > 0
    return Point(torch.where(rows, a.x, b.x), torch.where(chosen, a.value, b.value))
