"""Numbers of truths and draws, what intervals cover, and what a test would have found.

Of arrays (n, d) with draws (n, L, d) the numbers f are

    x_k or e_k . x         coordinates, or projections on random directions where d is large
    |x - m|                the distance from the mean m of draws that are put aside
    |x - r|                the distance from a draw put aside for another item (TARP)

the second of which sees a wrong spread in all directions at once; of other objects, by a metric d,

    d(x, r_own), d(x, r_other)     from a draw put aside for the item, and for another one

Draws put aside are ranked nowhere, and so truth and draws stay exchangeable given them.

A central interval between draws k and L + 1 - k in order covers the truth with probability
(L + 1 - 2 k) / (L + 1), exactly; so does a region "no further than draw k in order" with
k / (L + 1). Bands hold for all intervals at once, with the false-alarm rate `level`, by simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from unnoise.calibration.ranks import Floats, Ints, Ranked, Verdict, ranked, verdict
from unnoise.errors import InputError, NonFiniteError

MOST_NUMBERS: Final = 8
"""Coordinates that are ranked, and random directions where there are more."""
_INTERVALS = 19
_ASIDE = 5  # one in five draws is put aside


def ranks_of(truths: ArrayLike, draws: ArrayLike, *, seed: int = 0) -> Ranked:
    """Ranks of truths (n, d), or (n,), among draws (n, L, d), by the numbers above.

    Raises
    ------
    InputError : shapes that do not belong together, fewer than 2 items or 4 draws.
    NonFiniteError : NaN or infinity.
    """
    x, y = _arrays(truths, draws)
    aside, y = _aside(y)
    generator = np.random.default_rng(seed)
    size = x.shape[1]
    if size <= MOST_NUMBERS:
        axes, named = np.eye(size), "coordinate"
    else:
        axes, named = generator.standard_normal((MOST_NUMBERS, size)), "direction"
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    own = {f"{named} {k}": (x @ e, y @ e) for k, e in enumerate(axes)}
    for name, point in (
        ("distance from the mean", aside.mean(1)),
        ("distance from another", np.roll(aside[:, 0], 1, axis=0)),
    ):
        far = np.linalg.norm(x - point, axis=1), np.linalg.norm(y - point[:, None], axis=2)
        own[name] = far
    return _ranked(own, seed)


def ranks_by(
    truths: Sequence[Any],
    draws: Sequence[Sequence[Any]],
    distance: Callable[[Any, Any], float],
    *,
    seed: int = 0,
) -> Ranked:
    """Ranks of truths of any kind among their draws, by `distance`: an RMSD, an edit distance.

    Raises
    ------
    InputError : no truths, fewer than 2 items or 4 draws each, or not as many of each.
    NonFiniteError : a distance is no number.
    """
    counts = {len(own) for own in draws}
    if len(truths) != len(draws) or len(counts) != 1:
        raise InputError(
            "each truth needs as many draws as the others",
            value=f"{len(truths)} truths, draws of {len(draws)}, {sorted(counts)[:5]} each",
        )
    aside = _put_aside(len(truths), counts.pop())
    own: dict[str, tuple[Floats, Floats]] = {}
    for name, shift in (("distance from a draw", 0), ("distance from another", 1)):
        table = np.empty((len(truths), 1 + len(draws[0]) - aside))
        for i, (truth, some) in enumerate(zip(truths, draws, strict=True)):
            point = draws[i - shift][0]
            table[i] = [float(distance(one, point)) for one in (truth, *some[aside:])]
        own[name] = table[:, 0], table[:, 1:]
    return _ranked(own, seed)


ERRORS: Final = ("variance x 0.8", "shift of 0.3", "a lost mode")
"""Errors that `power` plants: draws drawn in to their mean, all of them shifted by 0.3 of their
standard deviation, or the quarter of them lost that is furthest to one side."""


def power(
    draws: ArrayLike, *, level: float = 0.05, trials: int = 40, seed: int = 0
) -> Mapping[str, float]:
    """How often the test of as many items and draws finds each of `ERRORS`, planted in draws
    (n, L, d): one of them stands for the truth, which makes the generator right, and the others are
    changed. `trials` each.

    Raises InputError and NonFiniteError as `ranks_of`.
    """
    y = np.asarray(draws, float)
    y = y[..., None] if y.ndim == 2 else y
    _arrays(y[:, 0], y)
    generator = np.random.default_rng(seed)
    n, count = y.shape[:2]
    hits = dict.fromkeys(ERRORS, 0)
    for trial in range(trials):
        place = generator.integers(0, count, (n,))
        keep = np.arange(count)[None] != place[:, None]
        truth, rest = y[np.arange(n), place], y[keep].reshape(n, count - 1, -1)
        for error in ERRORS:
            wrong = ranks_of(truth, planted(rest, error, generator), seed=trial)
            hits[error] += not verdict(wrong, level=level, simulations=199, seed=trial).passed
    return {error: found / trials for error, found in hits.items()}


def planted(draws: Floats, error: str, generator: np.random.Generator) -> Floats:
    """Draws (n, L, d) with one of `ERRORS`."""
    mean = draws.mean(1, keepdims=True)
    if error == "variance x 0.8":
        return np.asarray(mean + np.sqrt(0.8) * (draws - mean))
    if error == "shift of 0.3":
        return np.asarray(draws + 0.3 * draws.std(1, keepdims=True))
    n, count = draws.shape[:2]
    left = np.argsort(draws[:, :, 0], axis=1)[:, : count - max(1, count // 4)]
    picked = np.take_along_axis(left, generator.integers(0, left.shape[1], (n, count)), 1)
    return np.asarray(np.take_along_axis(draws, picked[:, :, None], 1))


@final
@dataclass(frozen=True, eq=False)
class Coverage:
    """What intervals cover: (K,) each.

    Attributes
    ----------
    nominal : the probability with which each covers the truth of a right generator.
    found : the part of the truths that it covers.
    low, high : the band in which all of `found` lie, of a right generator, with probability at
        least 1 - level.
    """

    nominal: Floats
    found: Floats
    low: Floats
    high: Floats

    @property
    def inside(self) -> bool:
        """Whether all of them lie in the band."""
        return bool(((self.found >= self.low) & (self.found <= self.high)).all())


def coverage(
    found: Ranked,
    name: str,
    *,
    level: float = 0.05,
    simulations: int = 1000,
    seed: int = 0,
) -> Coverage:
    """What the intervals of one number cover: central ones of a coordinate, of a distance regions
    around the point that it is from. Central intervals do not see an error that is as wrong above
    as it is right below; `verdict` does.

    Raises InputError for a number that was not ranked.
    """
    if name not in found.names:
        raise InputError("no such number", value=name, limit=", ".join(found.names))
    ranks, draws = found.of_truths(name), found.draws
    central = not name.startswith("distance")
    most = draws // 2 if central else draws
    cuts = np.unique(np.linspace(1, most, min(_INTERVALS, most)).astype(int))
    nominal = (draws + 1 - 2 * cuts) / (draws + 1) if central else cuts / (draws + 1)
    n = len(ranks)

    def counts(some: Ints) -> Ints:
        sorted_ = np.minimum(some, draws - some) if central else some
        inside = sorted_[:, :, None] >= cuts if central else sorted_[:, :, None] < cuts
        return np.asarray(inside.sum(1))

    generator = np.random.default_rng(seed)
    lowest = np.concatenate(
        [
            _two_sided(counts(generator.integers(0, draws + 1, (50, n))), n, nominal).min(1)
            for _ in range(-(-simulations // 50))
        ]
    )
    alpha = np.quantile(lowest, level, method="lower")
    # counts whose two-sided p is below alpha are outside
    every = np.arange(n + 1)[:, None]
    kept = _two_sided(every, n, nominal) >= alpha
    low, high = kept.argmax(0), n - kept[::-1].argmax(0)
    return Coverage(nominal, counts(ranks[None])[0] / n, low / n, high / n)


def _two_sided(counts: Ints, n: int, nominal: Floats) -> Floats:
    below, above = binom.cdf(counts, n, nominal), binom.sf(counts - 1, n, nominal)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(below, above)))


def calibrated(
    truths: ArrayLike,
    draws: ArrayLike,
    *,
    level: float = 0.05,
    simulations: int = 999,
    trials: int = 0,
    seed: int = 0,
) -> Verdict:
    """`verdict` of arrays; with the `power` of as many `trials` where these are asked for."""
    found = ranks_of(truths, draws, seed=seed)
    known = power(draws, level=level, trials=trials, seed=seed) if trials else {}
    return verdict(found, level=level, simulations=simulations, seed=seed, power=known)


def _arrays(truths: ArrayLike, draws: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(truths, float), np.asarray(draws, float)
    x, y = (x[:, None], y[..., None]) if x.ndim == 1 and y.ndim == 2 else (x, y)
    if x.ndim != 2 or y.ndim != 3 or x.shape != (y.shape[0], y.shape[2]):
        raise InputError(
            "truths are (n, d) and their draws (n, L, d)", value=f"{x.shape} and {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise NonFiniteError("truths and draws are finite numbers")
    return x, y


def _put_aside(items: int, draws: int) -> int:
    if items < 2 or draws < 4:
        raise InputError(
            "too few to rank", value=f"{items} items, {draws} draws", limit=">= 2 items, >= 4 draws"
        )
    return max(1, draws // _ASIDE)


def _aside(y: Floats) -> tuple[Floats, Floats]:
    count = _put_aside(*y.shape[:2])
    return y[:, :count], y[:, count:]


def _ranked(own: Mapping[str, tuple[Floats, Floats]], seed: int) -> Ranked:
    return ranked(
        {name: pair[0] for name, pair in own.items()},
        {name: pair[1] for name, pair in own.items()},
        seed=seed,
    )
