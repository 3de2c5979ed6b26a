"""Which cycles of the calendar a series has: the day, the week, the year.

A cycle of P rows shows in a column when, at 1/P or twice or thrice that, its power

    I(f) = |sum_t h_t z_t exp(-2 pi i f t)|^2,   h a Hann window, z_t = 0 where missing,

stands out of its neighbours at f +- k/T, k = 3 .. 14, each in units of the spectrum of an AR(1)
that has the column's correlation phi from row to row and its share p of known values,

    p^2 (1 - phi^2) / |1 - phi exp(-2 pi i f)|^2 + p (1 - p).

Over the mean of m independent neighbours noise is an F(2, 2m), above m (q^(-1/m) - 1) with
probability q; q is 1/1000 for all tests of a frame together. A cycle with less than a hundredth
of the variance is left out too.

Lengths are means over the index, so that a week of business days has 5 rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from unnoise_timeseries.windows import Values

Cycle: TypeAlias = Literal["day", "week", "year"]
DAYS: Final[Mapping[Cycle, float]] = {"day": 1.0, "week": 7.0, "year": 365.25}
_CHANCE = 1e-3  # of finding a cycle where there is none
_SHARE = 0.01  # of the variance
_FEWEST = 3  # periods in a series
_SHORTEST = 2.5  # rows of a period
_NEAR = np.concatenate([np.arange(-14, -2), np.arange(3, 15)])
_ALIKE = 1.5  # neighbours under a Hann window are as much worth as one that is independent
_SERIES = 20  # of a panel that are looked at


def cycles_of(parts: Sequence[Values], indices: Sequence[pd.Index[Any]]) -> tuple[Cycle, ...]:
    """The cycles that standardised series (rows, columns), NaN where missing, show. None of whole
    numbers, which have no calendar."""
    longest = sorted(range(len(parts)), key=lambda k: -len(parts[k]))[:_SERIES]
    count = 3 * len(DAYS) * sum(parts[k].shape[1] for k in longest)
    return tuple(
        name
        for name, days in DAYS.items()
        if any(_shows(parts[k], days / days_per_row(indices[k]), _CHANCE / count) for k in longest)
    )


def calendar(times: pd.Index[Any]) -> Float[Tensor, "rows 6"]:
    """sin, then cos, of the time of day, the day of the week, and the day of the year, each with
    the time of day; zeros for plain numbers."""
    if isinstance(times, pd.PeriodIndex):
        times = times.to_timestamp()
    if not isinstance(times, pd.DatetimeIndex):
        return torch.zeros(len(times), 2 * len(DAYS))
    day = (times.hour * 3600 + times.minute * 60 + times.second) / 86400
    turns = [day, (times.day_of_week + day) / 7, (times.day_of_year - 1 + day) / 365.25]
    angles = 2 * math.pi * np.stack([np.asarray(turn, dtype=np.float64) for turn in turns], -1)
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], -1)).float()


def places(times: pd.Index[Any], cycles: Sequence[Cycle]) -> Float[Tensor, "rows c"]:
    """sin and cos of the place in each cycle: what `calendar` says of them."""
    wanted = [k for k, name in enumerate(DAYS) if name in cycles]
    return calendar(times)[:, [*wanted, *(k + len(DAYS) for k in wanted)]]


def days_per_row(index: pd.Index[Any]) -> float:
    """Days from row to row, on average; infinite without a calendar."""
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    if not isinstance(index, pd.DatetimeIndex) or len(index) < 2:
        return math.inf
    return float((index[-1] - index[0]) / pd.Timedelta(days=1)) / (len(index) - 1)


def _shows(z: Values, period: float, chance: float) -> bool:
    rows = len(z)
    if period < _SHORTEST or rows < _FEWEST * period:
        return False
    known = np.isfinite(z)
    weight = np.maximum((known * np.hanning(rows)[:, None]).sum(0), 1e-12)
    for harmonic in (1, 2, 3):
        f = harmonic / period
        near = f + _NEAR / rows
        near = near[(near > 1.5 / rows) & (near < 0.5)]
        if f > 1 / _SHORTEST or len(near) < _FEWEST:
            break
        around = np.append(near, f)
        power = _power(z, around)
        relative = power / _expected(z, around)
        m = len(near) / _ALIKE
        least = m * (chance ** (-1 / m) - 1)
        stands = relative[-1] > least * relative[:-1].mean(0)
        if bool((stands & (2 * power[-1] / weight**2 > _SHARE * np.nanvar(z, 0))).any()):
            return True
    return False


def _expected(z: Values, frequencies: Values) -> Values:
    """The spectrum of an AR(1) with missing values, (frequencies, columns), up to a factor."""
    known = np.isfinite(z)
    pairs, share = known[1:] & known[:-1], known.mean(0)
    x = np.where(known, z - np.nanmean(z, 0), 0.0)
    squares = np.where(pairs, x[1:] ** 2 + x[:-1] ** 2, 0.0).sum(0) / 2
    phi = np.clip((x[1:] * x[:-1]).sum(0) / np.maximum(squares, 1e-12), -0.9999, 0.9999)
    turns = np.exp(-2j * np.pi * frequencies)[:, None]
    law = (1 - phi**2) / np.abs(1 - phi * turns) ** 2
    found: Values = share**2 * law + share * (1 - share)
    return found


def _power(z: Values, frequencies: Values) -> Values:
    """I(f), (frequencies, columns), about the mean."""
    known, window = np.isfinite(z), np.hanning(len(z))[:, None]
    weight = np.maximum((known * window).sum(0), 1e-12)
    x = np.where(known, z - np.nansum(z * window, 0) / weight, 0.0) * window
    waves = np.exp(-2j * np.pi * np.outer(frequencies, np.arange(len(z))))
    found: Values = np.abs(waves @ x) ** 2
    return found
