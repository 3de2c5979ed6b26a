"""Fitting the law of a linear Gaussian series to series with holes, by Monte Carlo EM.

    E: draws of the hidden cells given the seen ones under the present law (Wei and Tanner 1990),
    M: regression of x_t on x_(t-1), .., x_(t-p) and h_t over all draws; S and S_0 of what is left.

The regression of each column is a ridge as in Litterman's prior for autoregressions: the weight of
row t - l has the standard deviation `_OWN` / l, and `_OTHER` / l where it is of another column. The
draws use the same numbers in each round, so that the rounds settle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from unnoise_timeseries.cycles import DAYS, Cycle, calendar, days_per_row
from unnoise_timeseries.law import Equation, Numbers, conditional, residuals, unblocked, unfolded
from unnoise_timeseries.windows import Values

PIECE = 256  # rows of a series that are worked on at once
_WORK = 240  # pieces times columns of a fit, about: the rest is more of the same
_FEWEST = 8  # pieces of a fit
_DRAWS = 4  # of the hidden cells in each round
_OWN, _OTHER = 0.5, 0.25
_DRIFT = 1.0  # standard deviation of an entry of D
_STRAIGHT = 0.9999  # of a random walk from row to row: a stationary one, of some 5,000 rows
_LEAST = 1e-6  # variance of a step of a column of variance 1
_HARMONICS: Mapping[Cycle, int] = {"day": 6, "week": 3, "year": 3}


@final
@dataclass(frozen=True, eq=False)
class Pieces:
    """Standardised series cut into pieces (pieces, n, K), the last one of each filled up with rows
    that are not `inside`."""

    values: Float[Tensor, "pieces n k"]
    seen: Bool[Tensor, "pieces n k"]
    inside: Bool[Tensor, "pieces n"]
    features: Float[Tensor, "pieces n c"]

    def hiding(self, away: Bool[Tensor, "pieces n k"]) -> Pieces:
        return replace(self, seen=self.seen & ~away)


def waves_of(cycles: Sequence[Cycle], index: pd.Index[object]) -> dict[Cycle, int]:
    """So many harmonics of each cycle as its rows can show."""
    step = days_per_row(index)
    return {
        name: max(1, min(_HARMONICS[name], int(DAYS[name] / step / 2 - 1e-9))) for name in cycles
    }


def features_of(times: pd.Index[object], waves: Mapping[Cycle, int]) -> Float[Tensor, "rows c"]:
    """h_t, float64: 1, then cos and sin of each harmonic."""
    found = [torch.ones(len(times), 1, dtype=torch.float64)]
    turn, count = calendar(times).double(), len(DAYS)
    for k, name in enumerate(DAYS):
        angle = torch.atan2(turn[:, k], turn[:, k + count])
        for harmonic in range(1, waves.get(name, 0) + 1):
            found.append(torch.stack([(harmonic * angle).cos(), (harmonic * angle).sin()], -1))
    return torch.cat(found, -1)


def pieces_of(
    parts: Sequence[Values], indices: Sequence[pd.Index[object]], waves: Mapping[Cycle, int]
) -> Pieces:
    """Standardised series, NaN where missing, in pieces; of long ones some, spread over them."""
    length = min(PIECE, max(len(part) for part in parts))
    starts = [(k, s) for k, part in enumerate(parts) for s in range(0, len(part), length)]
    starts = [(k, s) for k, s in starts if np.isfinite(parts[k][s : s + length]).any()]
    most = max(_FEWEST, _WORK // parts[0].shape[1])
    if len(starts) > most:
        starts = [starts[int(i)] for i in np.linspace(0, len(starts) - 1, most)]
    features = [features_of(index, waves) for index in indices]
    values, inside, turned = [], [], []
    for k, s in starts:
        own = torch.from_numpy(np.array(parts[k][s : s + length]))
        more = length - len(own)
        values.append(F.pad(own, (0, 0, 0, more), value=torch.nan))
        inside.append(torch.arange(length) < len(own))
        turned.append(F.pad(features[k][s : s + length], (0, 0, 0, more)))
    whole = torch.stack(values)
    return Pieces(whole, ~whole.isnan(), torch.stack(inside), torch.stack(turned))


def fit(
    pieces: Pieces, columns: Sequence[Equation], rounds: int, begin: Numbers | None = None
) -> Numbers:
    """The law with these equations, one for each column, after so many rounds; from a random walk,
    or another law of as many rows."""
    lags = max(own.lags for own in columns)
    numbers = _walk(pieces, lags) if begin is None else begin
    generator, rows = torch.Generator().manual_seed(0), pieces.values.shape[1]
    noise: Tensor | None = None
    for _ in range(rounds):
        found = conditional(numbers, pieces.values.nan_to_num(), pieces.seen, pieces.features)
        if noise is None:
            shape = (_DRAWS, *found.factor.upper.shape[:-1])
            noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        d = unblocked(unfolded(found.factor, noise), numbers.columns)[..., :rows, :]
        drawn = found.mean + d.masked_fill(pieces.seen, 0.0)
        numbers = _regressed(numbers, drawn, pieces, columns)
    return numbers


def _walk(pieces: Pieces, lags: int) -> Numbers:
    """A random walk with the columns' own steps."""
    k, c = pieces.values.shape[-1], pieces.features.shape[-1]
    step = (pieces.values[:, 1:] - pieces.values[:, :-1]).square().flatten(0, 1)
    variance = torch.nanmean(step, 0).nan_to_num(1.0).clamp(_LEAST, 2.0)
    weights = torch.zeros(lags, k, k, dtype=torch.float64)
    weights[0] = _STRAIGHT * torch.eye(k, dtype=torch.float64)
    places = torch.arange(lags, dtype=torch.float64)
    steps = torch.minimum(places[:, None], places)  # a walk from a first row of variance 1
    first = torch.kron(torch.ones_like(steps), torch.eye(k, dtype=torch.float64))
    first = first + torch.kron(steps, torch.diag(variance))
    zero = torch.zeros(k, c, dtype=torch.float64)
    return Numbers(weights, zero, zero, torch.diag(variance), first)


def _regressed(
    numbers: Numbers,
    x: Float[Tensor, "draws pieces n k"],
    pieces: Pieces,
    columns: Sequence[Equation],
) -> Numbers:
    """The M step."""
    p, k, rows = numbers.lags, numbers.columns, x.shape[-2]
    features = pieces.features.expand(len(x), -1, -1, -1)
    use = pieces.inside[:, p:].expand(len(x), -1, -1)
    target = x[..., p:, :][use]
    lagged = [x[..., p - lag : rows - lag, :][use] for lag in range(1, p + 1)]
    design = torch.cat([*lagged, features[..., p:, :][use]], -1)
    gram, right = design.mT @ design / len(x), design.mT @ target / len(x)
    solved = torch.zeros_like(right)
    for j, own in enumerate(columns):
        if own.name == "walk":
            solved[j, j] = _STRAIGHT
            continue
        deviation = _deviations(own, j, p, k, features.shape[-1])
        some = deviation > 0
        ridge = numbers.noise[j, j] * deviation[some] ** -2
        solved[some, j] = torch.linalg.solve(gram[some][:, some] + ridge.diag(), right[some, j])
    weights, drift = solved[: p * k].view(p, k, k).mT.contiguous(), solved[p * k :].mT.contiguous()
    found = replace(numbers, weights=weights, drift=drift)
    noise = _covariance(residuals(found, x, features)[use])
    # any p rows may be the first ones: those of a window are
    runs = x.unfold(-2, p, p).mT.flatten(0, 2)
    times = features.unfold(-2, p, p).mT.flatten(0, 2)
    there = pieces.inside.unfold(-1, p, p)[..., -1].expand(len(x), -1, -1).flatten()
    runs, times = runs[there], times[there]
    free = torch.tensor([own.cycles for own in columns])
    start = torch.zeros_like(drift)
    start[:, 0] = runs.mean((0, 1))
    if bool(free.any()):
        flat = times.flatten(0, 1)
        ridge = torch.eye(flat.shape[-1], dtype=flat.dtype)
        start[free] = torch.linalg.solve(flat.mT @ flat + ridge, flat.mT @ runs.flatten(0, 1)).mT[
            free
        ]
    first = _covariance((runs - times @ start.mT).flatten(1))
    return replace(found, noise=noise, start=start, first=first)


def _deviations(own: Equation, j: int, p: int, k: int, c: int) -> Float[Tensor, " inputs"]:
    """Standard deviations of the weights of column j; 0 of those that are none."""
    lag = torch.zeros(p, k, dtype=torch.float64)
    for back in range(own.lags):
        if own.name == "across":
            lag[back] = _OTHER / (back + 1)
        lag[back, j] = _OWN / (back + 1) if back else 10.0
    turned = torch.full((c,), _DRIFT if own.cycles else 0.0, dtype=torch.float64)
    turned[0] = _DRIFT
    return torch.cat([lag.flatten(), turned])


def _covariance(e: Float[Tensor, "n k"]) -> Float[Tensor, "k k"]:
    """Second moments, drawn towards their diagonal as far as rows are few."""
    n, k = e.shape
    full = e.mT @ e / max(n, 1)
    own = full.diagonal().clamp(min=_LEAST).diag()
    weight = (k + 1) / (k + 1 + n / _DRAWS)
    return (1 - weight) * full + weight * own + _LEAST * 1e-3 * torch.eye(k, dtype=e.dtype)
