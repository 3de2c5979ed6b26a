"""Statistical comparisons with a stated, non-asymptotic false-alarm rate: `report.FALSE_ALARM`."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from unnoise.spaces import State
from unnoise.testing.report import FALSE_ALARM, CheckFailed, within

DRAWS: Final = 4096
"""Draws of a statistical check, by default."""


def hoeffding(n: int, comparisons: int = 1) -> float:
    """What the mean of n numbers in [0, 1] exceeds its expectation by with probability at most
    FALSE_ALARM, in any of several two-sided comparisons (Hoeffding 1963)."""
    return math.sqrt(math.log(2 * comparisons / FALSE_ALARM) / (2 * n))


def same_law(a: State, b: State, what: str) -> str:
    """CheckFailed unless two sets of n draws, rows of `a` and of `b`, have the same marginal laws.

    Real entries: the largest difference of the distribution functions, below
    sqrt(ln(2 / p) / n) (Dvoretzky, Kiefer & Wolfowitz; two samples: Wei & Dudley 2012, n >= 458).
    Tokens: differences of frequencies.
    """
    pairs = a.items() if isinstance(a, dict) else [("", a)]
    other = b if isinstance(b, dict) else {"": b}
    distances, n = [], 0
    for name, left in pairs:
        right = other[name]
        n = len(left)
        flat = left.reshape(n, -1), right.reshape(n, -1)
        distance = _frequencies if left.dtype == torch.int64 else _distribution_functions
        distances.append(distance(*flat))
    values = torch.cat(distances)
    limit = math.sqrt(math.log(2 * len(values) / FALSE_ALARM) / n)
    return within(float(values.max()), limit, f"{what}: distance of the laws of {n} draws")


def agree(a: Tensor, b: Tensor, what: str) -> str:
    """CheckFailed unless the means of two independent sets of bounded numbers agree within 8
    standard errors: 1.3e-15 for means of normal law, which those of 1,000 draws nearly are."""
    error = math.sqrt(float(a.double().var()) / len(a) + float(b.double().var()) / len(b))
    difference = abs(float(a.double().mean() - b.double().mean()))
    return within(difference, 8 * error + 1e-6, f"{what}: difference")


def _distribution_functions(a: Tensor, b: Tensor) -> Tensor:
    """(columns,) the Kolmogorov-Smirnov distances. Ties, such as atoms, are counted once."""
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise CheckFailed("draws are NaN or infinite")
    a, b = a.double().sort(0).values.T.contiguous(), b.double().sort(0).values.T.contiguous()
    points = torch.cat([a, b], 1)
    below = [torch.searchsorted(x, points, right=True) / x.shape[1] for x in (a, b)]
    return (below[0] - below[1]).abs().amax(1)


def _frequencies(a: Tensor, b: Tensor) -> Tensor:
    """(columns * categories,) differences of the frequencies."""
    size = int(max(a.max(), b.max())) + 1
    rows = [torch.nn.functional.one_hot(x, size).double().mean(0) for x in (a, b)]
    return (rows[0] - rows[1]).abs().flatten()
