"""Which law a frame follows: candidates are fitted with some of the known cells hidden, and what
says most of those is taken.

Hidden are single cells, and runs of rows in one column or, for a model that forecasts, in all. The
score is the CRPS of a normal law, with z = (x - m) / s,

    s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)),

in units of that of the random walk, which is linear interpolation with the spread of a bridge. Each
column takes the equation that is best for it, where that is better than one for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unnoise_timeseries.classical import Pieces, fit, pieces_of, waves_of
from unnoise_timeseries.cycles import Cycle
from unnoise_timeseries.law import Equation, Law, Numbers, conditional, spread_of
from unnoise_timeseries.windows import Values

_ROUNDS: Final = 10
_LAST: Final = 15  # more rounds of the one that was chosen
_SHARE: Final = 0.1  # of the known cells, by each pattern
_FEWEST: Final = 20  # hidden cells, to choose by
_LAGS: Final = (1, 4)
_MORE: Final = 10  # rows that are needed for each weight of an equation
_NOISE: Final = 1.01  # what is this much better than something simpler, at least, is taken
WALK: Final = Equation(name="walk")


@final
@dataclass(frozen=True, eq=False)
class Choice:
    """The law that was chosen, fitted to all that is known.

    Attributes
    ----------
    numbers, columns : the law, and the equation of each column.
    scores : (mean CRPS of single cells, of runs) of each candidate, in standard deviations, by
        name; empty where too little is known to hide some.
    reach : the largest |x - m| / s of a hidden cell; at least 4.
    """

    numbers: Numbers
    columns: tuple[Equation, ...]
    scores: dict[str, tuple[float, float]]
    reach: float


def chosen(pieces: Pieces, free: Sequence[bool], run: int, rows: bool = False) -> Choice:
    """The best law for cells of the columns that are `free` to be hidden.

    Parameters
    ----------
    run : rows of a hidden run.
    rows : whether runs are of all free columns at once.
    """
    single, block = held_out(pieces, free, run, rows)
    columns = pieces.values.shape[-1]
    known = int(pieces.seen.sum()) / columns
    if min(int(single.sum()), int(block.sum())) < _FEWEST:
        own = (Equation(name="own"),) * columns
        return Choice(fit(pieces, own, _ROUNDS), own, {}, 4.0)
    part = pieces.hiding(single | block)
    tried: dict[tuple[Equation, ...], _Tried] = {}

    def attempt(equations: Sequence[Equation]) -> float:
        key = tuple(equations)
        if key not in tried:
            tried[key] = _try(pieces, part, key, single, block)
        return tried[key].score(tried[base])

    def simplest() -> tuple[Equation, ...]:
        scores = {key: found.score(tried[base]) for key, found in tried.items()}
        return next(key for key in tried if scores[key] < _NOISE * min(scores.values()))

    base = (WALK,) * columns
    attempt(base)
    cycles = pieces.features.shape[-1] > 1
    for equation in candidates(known, columns, cycles):
        attempt((equation,) * columns)
    best = simplest()
    if cycles and best[0] != WALK:
        attempt((Equation(name=best[0].name, lags=best[0].lags),) * columns)
    uniform = list(tried)
    if columns > 1:
        each = torch.stack([tried[key].by_column(tried[base]) for key in uniform])
        attempt([uniform[int(each[:, j].argmin())][j] for j in range(columns)])
    best = simplest()
    numbers = fit(pieces, best, _LAST, tried[best].numbers)
    scores = {_named(key): found.means for key, found in tried.items()}
    return Choice(numbers, best, scores, max(4.0, tried[best].reach))


def candidates(rows: float, columns: int, cycles: bool) -> list[Equation]:
    """What so many known rows can tell apart, beside the random walk."""
    found = [
        Equation(name="own", lags=lags, cycles=cycles)
        for lags in _LAGS
        if rows > 10 * _MORE * lags or lags == 1
    ]
    if columns > 1:
        found += [
            Equation(name="across", lags=lags, cycles=cycles)
            for lags in _LAGS
            if rows > _MORE * lags * columns and (lags == 1 or rows > 10 * _MORE * lags)
        ]
    return found


def held_out(
    pieces: Pieces, free: Sequence[bool], run: int, rows: bool
) -> tuple[Bool[Tensor, "pieces n k"], Bool[Tensor, "pieces n k"]]:
    """Known cells to hide: single ones, and runs."""
    generator = torch.Generator().manual_seed(1)
    can = pieces.seen & torch.tensor(list(free))
    single = can & (torch.rand(can.shape, generator=generator) < _SHARE)
    n, length, columns = can.shape
    run = max(2, min(run, length // 4))
    starts = torch.rand((n, length, columns), generator=generator) < _SHARE / run
    if rows:
        starts = starts[..., :1].expand(-1, -1, columns)
    block = torch.zeros_like(can)
    for back in range(run):
        block[:, back:] |= starts[:, : length - back]
    block &= can
    return single & ~block, block


@final
@dataclass(frozen=True, eq=False)
class _Tried:
    """CRPS of the hidden cells of both patterns, by column: sums and counts (2, K)."""

    numbers: Numbers
    total: Tensor
    count: Tensor
    reach: float

    @property
    def means(self) -> tuple[float, float]:
        a, b = (self.total.sum(1) / self.count.sum(1).clamp(min=1)).tolist()
        return a, b

    def by_column(self, base: _Tried) -> Float[Tensor, " k"]:
        """(K,) the mean over both patterns of the CRPS in units of that of `base`."""
        own, other = self.total.clamp(min=1e-9), base.total.clamp(min=1e-9)
        return (own / other).mean(0)

    def score(self, base: _Tried) -> float:
        found = float(self.by_column(base).mean())
        return found if math.isfinite(found) else math.inf


def _try(
    pieces: Pieces, part: Pieces, key: tuple[Equation, ...], single: Tensor, block: Tensor
) -> _Tried:
    numbers = fit(part, key, _ROUNDS)
    found = conditional(numbers, pieces.values.nan_to_num(), part.seen, pieces.features)
    spread = spread_of(found.factor, numbers.columns, ~part.seen)
    error = (pieces.values - found.mean).nan_to_num()
    crps = normal_crps(error, spread)
    total = torch.stack([(crps * mask).sum((0, 1)) for mask in (single, block)])
    count = torch.stack([mask.sum((0, 1)) for mask in (single, block)])
    hidden = single | block
    reach = float((error[hidden].abs() / spread[hidden].clamp(min=1e-12)).max())
    return _Tried(numbers, total, count, reach)


def normal_crps(error: Tensor, spread: Tensor) -> Tensor:
    """Of N(0, spread^2) at `error`."""
    s = spread.clamp(min=1e-12)
    z = error / s
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return s * (z * (2 * torch.special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))


def _named(columns: tuple[Equation, ...]) -> str:
    if len(set(columns)) == 1:
        return str(columns[0])
    return "each column its own"


def law_of(
    parts: Sequence[Values],
    indices: Sequence[pd.Index[Any]],
    cycles: Sequence[Cycle],
    free: Sequence[bool],
    runs: tuple[int, bool],
) -> tuple[Law, dict[str, tuple[float, float]], float]:
    """The law of standardised series (rows, columns), the scores of all that were tried, and the
    reach; `runs` as in `chosen`."""
    waves = waves_of(cycles, indices[0])
    found = chosen(pieces_of(parts, indices, waves), free, *runs)
    law = found.numbers.law(found.columns, waves)
    return law, found.scores, found.reach


def refitted(
    law: Law, parts: Sequence[Values], indices: Sequence[pd.Index[Any]], rounds: int = _LAST
) -> Law:
    """A law with the same equations of more or other series, on from its numbers."""
    pieces = pieces_of(parts, indices, law.waves)
    return fit(pieces, law.equations, rounds, Numbers.of(law)).law(law.equations, law.waves)
