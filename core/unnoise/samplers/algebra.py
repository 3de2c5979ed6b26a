"""What the samplers of Gaussian kernels share, in the variables of the field.

With rho = sigma / alpha, y = x / alpha and lambda = log(alpha / sigma), the probability-flow ODE is

    dx / dt = alpha' x_0 + sigma' eps,   dy / d rho = eps,   d(x / sigma) / d lambda = e^lambda x_0.

The last two are solved exactly for a prediction that is a polynomial in rho or lambda. rho is
infinite where alpha is 0 (flow matching at t = 1) and lambda where sigma is 0 (t = 0): a step from
or to there uses one prediction of x_0, `toward`, which is exact to first order at both ends.

Where alpha is almost 0 (the cosine schedule at t = 1: rho = 22026), y is thousands of times what is
left of x_0 in it. A method of higher order in eps would multiply the difference of two predictions
by that: above RHO_MAX it takes the step `toward`, too, and begins its history after it. A method of
single steps keeps its order there in k = alpha / sigma, along which the posterior's mean begins
linearly: d(x / sigma) / dk = x_0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, wraps
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from unnoise.distributions import Dirac, Distribution
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.samplers.base import intervals
from unnoise.spaces import tensor

FIRST = 1e-5
"""The smallest time that is not 0: schedules may jump from a smallest sigma to sigma(0) = 0."""
RHO_MAX: Final = 1000.0
"""Above this sigma / alpha nothing of x_0 is seen: grids space levels as if it were the first, and
methods in eps begin below it."""


def schedule_of(kernel: TransitionKernel) -> Schedule:
    """The schedule of a kernel that was checked to be Gaussian."""
    assert isinstance(kernel, GaussianKernel)
    return kernel.schedule


def levels(schedule: Schedule, t: float) -> tuple[float, float]:
    """(alpha, sigma)."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert isinstance(alpha, float)
    assert isinstance(sigma, float)
    return alpha, sigma


class Level(NamedTuple):
    """A time of a run and the levels there, computed once."""

    t: float
    alpha: float
    sigma: float
    lam: float

    @property
    def rho(self) -> float:
        """sigma / alpha."""
        return self.sigma / self.alpha if self.alpha > 0 else math.inf

    @property
    def blind(self) -> bool:
        """Whether nothing of x_0 is seen here: alpha is 0, or almost."""
        return self.sigma > RHO_MAX * self.alpha


def level(schedule: Schedule, t: float) -> Level:
    """The levels at one time."""
    alpha, sigma = levels(schedule, t)
    if sigma <= 0:
        return Level(t, alpha, sigma, math.inf)
    return Level(t, alpha, sigma, math.log(alpha / sigma) if alpha > 0 else -math.inf)


Spans = tuple[tuple[Level, Level], ...]
"""The levels at both ends of each interval of a grid."""
Row = tuple[float, ...]
"""Coefficients of one step."""
K = TypeVar("K")
G = TypeVar("G")
R = TypeVar("R")


def once(function: Callable[[K, Schedule, G], R]) -> Callable[[K, Schedule, G], R]:
    """A function of a sampler, a schedule and a grid, computed once for each. Nothing is kept of a
    schedule that may change: a module with parameters, or what cannot be hashed."""
    kept = lru_cache(maxsize=64)(function)

    @wraps(function)
    def call(sampler: K, schedule: Schedule, grid: G) -> R:
        known = isinstance(schedule, Hashable) and not isinstance(schedule, nn.Module)
        return kept(sampler, schedule, grid) if known else function(sampler, schedule, grid)

    return call


def spans(schedule: Schedule, grid: Tensor) -> Spans:
    """The levels at both ends of each interval of a grid."""
    intervals(grid)
    return _spans(None, schedule, tuple(grid.tolist()))


@once
def _spans(_: None, schedule: Schedule, times: tuple[float, ...]) -> Spans:
    return tuple(pairwise(level(schedule, t) for t in times))


def rho(schedule: Schedule, t: float) -> float:
    """sigma / alpha."""
    return level(schedule, t).rho


def time_of_rho(schedule: Schedule, value: float, low: float, high: float) -> float:
    """The time in [low, high] at which sigma / alpha is `value`."""
    # by the angle, which is finite where rho is not
    return time_of(lambda t: math.atan(rho(schedule, t)), math.atan(value), low, high)


def lam(schedule: Schedule, t: float) -> float:
    """log(alpha / sigma), half of log SNR."""
    return level(schedule, t).lam


def time_of(
    function: Callable[[float], float],
    value: float,
    low: float,
    high: float,
    tolerance: float = 1e-15,
) -> float:
    """The t in [low, high] where a monotone `function` is `value`; an end when it lies outside."""
    a, b = function(low) - value, function(high) - value
    if a == 0 or b == 0 or (a > 0) == (b > 0):
        return low if abs(a) < abs(b) else high
    return float(brentq(lambda t: function(t) - value, low, high, xtol=tolerance, rtol=1e-14))


def between(schedule: Schedule, a: Level, b: Level, fraction: float) -> Level:
    """A level whose lambda lies `fraction` of the way from a to b, both finite.

    About so: what is done with it takes its own lambda, and root finding costs more than a pass.
    """
    target = a.lam + fraction * (b.lam - a.lam)
    known = {a.t: a.lam, b.t: b.lam}

    def at(u: float) -> float:
        return known[u] if u in known else lam(schedule, u)

    return level(schedule, time_of(at, target, b.t, a.t, 1e-5 * (a.t - b.t)))


def halfway(schedule: Schedule, a: Level, b: Level) -> Level:
    """The level where alpha / sigma lies half-way from a, where nothing is seen, to b."""
    target = 2 / (1 / a.rho + 1 / b.rho)
    return level(schedule, time_of_rho(schedule, target, b.t, a.t))


def noise_in(x: Tensor, law: Distribution, at: Level) -> Tensor:
    """eps = (x_t - alpha x_0) / sigma, of which the law may know."""
    if isinstance(law, Dirac) and law.noise is not None:
        return tensor(law.noise)
    return torch.sub(x, tensor(law.mean), alpha=at.alpha).mul_(1 / at.sigma)


def toward(x: Tensor, x0: Tensor, a: Level, b: Level) -> Tensor:
    """The DDIM step along x_0: x_s = (sigma_s / sigma_t) x_t + (alpha_s - ...) x_0."""
    if b.sigma == 0:
        return b.alpha * x0
    ratio = b.sigma / a.sigma
    return (x * ratio).add_(x0, alpha=b.alpha - ratio * a.alpha)


def transfer(x: Tensor, noise: Tensor, a: Level, b: Level) -> Tensor:
    """The DDIM step along eps, x_s = (alpha_s / alpha_t) x_t + (sigma_s - ...) eps, alpha_t > 0."""
    ratio = b.alpha / a.alpha
    return (x * ratio).add_(noise, alpha=b.sigma - ratio * a.sigma)


def slope(schedule: Schedule, at: Level) -> tuple[float, float]:
    """The coefficients of x_t and x_0 in dx / dt = alpha' x_0 + sigma' eps."""
    d_alpha, d_sigma = schedule.d_alpha(at.t), schedule.d_sigma(at.t)
    assert isinstance(d_alpha, float)
    assert isinstance(d_sigma, float)
    growth = d_sigma / at.sigma
    return growth, d_alpha - growth * at.alpha


def euler(schedule: Schedule, at: Level, step: float) -> Row:
    """The coefficients of x_t and x_0 in x_t + step dx / dt."""
    own, other = slope(schedule, at)
    return (1 + step * own, step * other)


def weighted(row: Row, values: Sequence[Tensor]) -> Tensor:
    """sum_i row[i] values[i]; values beyond the row do not count."""
    terms = zip(row, values, strict=False)
    w, value = next(terms)
    total = value * w
    for w, value in terms:
        total.add_(value, alpha=w)
    return total


def moments(rate: float, h: float, count: int) -> list[float]:
    """The integrals of rate e^(rate z) z^k over z in [-h, 0], k = 0 .. count - 1."""
    decay = math.exp(-rate * h)
    if rate * h > 0.5:  # by parts; for small h this would subtract almost equal numbers
        values = [-math.expm1(-rate * h)]
        for k in range(1, count):
            values.append(-((-h) ** k) * decay - k / rate * values[-1])
        return values
    # the last by the series of e^(rate (z + h)), integrated term by term, the others backwards
    last = count - 1
    term, total, n = rate * decay * h**count / count, 0.0, 0
    while total + term != total:
        total += term
        n += 1
        term *= rate * h / (count + n)
    values = [0.0] * last + [(-1) ** last * total]
    for k in range(last, 0, -1):
        values[k - 1] = -rate / k * (values[k] + (-h) ** k * decay)
    return values


def adams(nodes: Sequence[float], h: float, rate: float = 1.0) -> list[float]:
    """Weights of predictions at `nodes` whose polynomial is integrated against rate e^(rate z).

    The nodes are lambda_i - lambda_s, the interval [-h, 0]. With rate = 1

        x_s = (sigma_s / sigma_t) x_t + alpha_s sum_i w_i x_0(i)

    is the exponential Adams step: DPM-Solver++ 3M, and the parts of UniPC and SA-Solver.
    """
    return interpolated(nodes, moments(rate, h, len(nodes)))


def interpolated(nodes: Sequence[float], integrals: Sequence[float]) -> list[float]:
    """Weights w with sum_i w_i nodes_i^k = integrals_k, k = 0 .. n - 1: those with which values at
    `nodes` give the functional of their polynomial whose moments are `integrals`.

    Vandermonde's system by Bjorck and Pereyra 1970: n^2 operations.
    """
    w, last = list(integrals), len(nodes) - 1
    for k in range(last):
        for i in range(last, k, -1):
            w[i] -= nodes[k] * w[i - 1]
    for k in range(last - 1, -1, -1):
        for i in range(k + 1, last + 1):
            w[i] /= nodes[i] - nodes[i - k - 1]
        for i in range(k, last):
            w[i] -= w[i + 1]
    return w
