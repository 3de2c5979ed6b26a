"""Is a conditional generator's uncertainty true? Rank tests of truths among its draws.

For items i = 1 .. n there is a truth and L draws of what it could be, given what the generator
saw. If the generator is right, truth and draws are exchangeable given that, and so the rank of any
number f of the truth among those of the draws is uniform on 0 .. L, ties broken at random
(simulation-based calibration, Talts et al. 2018; f = d(., r), the distance from a point r that does
not depend on the truth: TARP, Lemos et al. 2023).

    u_i = (rank_i + 1/2) / (L + 1),    T = sum_j (n^-1/2 sum_i P_j(u_i))^2,    j = 1 .. 4

is Neyman's smooth statistic, P_j the orthonormal Legendre polynomials on (0, 1): j = 1 sees a
shift, 2 a wrong spread, 3 and 4 skewness and tails.

The null law is drawn, not approximated: in a simulation a draw, picked at random in each item,
takes the truth's place. That is exact at any n and L, however several numbers f depend on each
other, so that the largest of their statistics, which all have one null law, can be tested with an
exact false-alarm rate:

    p = (1 + #{simulations whose largest T is at least the truth's}) / (simulations + 1)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unnoise.errors import InputError, NonFiniteError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DEGREES: Final = 4
_AT_ONCE = 2**22  # numbers in memory
_TIE = 1e-12  # relative, of sums in another order


@final
@dataclass(frozen=True, eq=False)
class Ranked:
    """Where the truth, and each draw in its place, stands among the others.

    Attributes
    ----------
    names : of the numbers f.
    ranks : (n, L + 1, F) from 0 to L; [:, 0] are those of the truths.
    """

    names: tuple[str, ...]
    ranks: Ints

    @property
    def draws(self) -> int:
        """L."""
        return int(self.ranks.shape[1]) - 1

    def of_truths(self, name: str) -> Ints:
        """(n,) the ranks of the truths by one number."""
        return self.ranks[:, 0, self.names.index(name)]


def ranked(
    truths: Mapping[str, ArrayLike], draws: Mapping[str, ArrayLike], *, seed: int = 0
) -> Ranked:
    """Ranks from numbers f of truths, (n,) by name, and of draws, (n, L).

    Raises
    ------
    InputError : no numbers, no items, no draws, or shapes that do not belong together.
    NonFiniteError : NaN.
    """
    if not truths or set(truths) != set(draws):
        raise InputError(
            "truths and draws are compared by the same numbers",
            value=f"{sorted(truths)} and {sorted(draws)}",
        )
    generator, found = np.random.default_rng(seed), []
    for name, given in truths.items():
        truth, drawn = np.asarray(given, float), np.asarray(draws[name], float)
        if truth.ndim != 1 or drawn.ndim != 2 or len(truth) != len(drawn) or 0 in drawn.shape:
            raise InputError(
                f"{name!r} needs one number a truth (n,) and L a truth of its draws (n, L)",
                value=f"{truth.shape} and {drawn.shape}",
            )
        both = np.concatenate([truth[:, None], drawn], 1)
        if np.isnan(both).any():
            raise NonFiniteError(f"{name!r} is not a number", value=int(np.isnan(both).sum()))
        order = np.lexsort((generator.random(both.shape), both))  # ties at random
        found.append(np.argsort(order, axis=1))
    if len({ranks.shape for ranks in found}) > 1:
        raise InputError(
            "each number is of the same items and draws", value=[one.shape for one in found]
        )
    return Ranked(tuple(truths), np.stack(found, 2))


@final
@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether truths look like draws.

    Attributes
    ----------
    p_value : of all numbers together; of a right generator at most a with probability at most a.
    by_name : p-values of each number alone, of which the smallest is to be expected small.
    level : the false-alarm rate of `passed`.
    items, draws : n and L.
    power : how often this test, with these n, L and numbers, finds an error, by the error's name;
        empty where nobody asked.
    """

    p_value: float
    by_name: Mapping[str, float]
    level: float
    items: int
    draws: int
    power: Mapping[str, float]

    @property
    def passed(self) -> bool:
        """Whether no error was found; what `power` says is how much that means."""
        return self.p_value > self.level


def verdict(
    found: Ranked,
    *,
    level: float = 0.05,
    simulations: int = 999,
    seed: int = 0,
    power: Mapping[str, float] | None = None,
) -> Verdict:
    """Test that truths are exchangeable with their draws.

    Raises
    ------
    InputError : a level outside (0, 1), or one that so few simulations cannot give.
    """
    if not 0 < level < 1:
        raise InputError("a level is a probability", value=level, limit="0 < level < 1")
    if simulations < 1 or level * (simulations + 1) < 1 - 1e-12:
        raise InputError(
            "too few simulations for this level",
            value=simulations,
            limit=f">= {int(np.ceil(1 / level - 1e-9)) - 1}",
        )
    n, places, _ = found.ranks.shape
    values = polynomials((np.arange(places) + 0.5) / places)  # (L + 1, degrees)
    generator = np.random.default_rng(seed)
    table = [_statistic(values, found.ranks[None, :, 0])]
    chunk = max(1, _AT_ONCE // (n * found.ranks.shape[2] * DEGREES))
    for begin in range(0, simulations, chunk):
        count = min(chunk, simulations - begin)
        place = generator.integers(0, places, (count, n))
        table.append(_statistic(values, found.ranks[np.arange(n), place]))
    statistics = np.concatenate(table)  # (1 + simulations, F)
    largest = statistics.max(1)
    shares = (statistics >= statistics[0] * (1 - _TIE)).mean(0)
    return Verdict(
        float((largest >= largest[0] * (1 - _TIE)).mean()),
        {name: float(shares[k]) for k, name in enumerate(found.names)},
        level,
        n,
        found.draws,
        dict(power or {}),
    )


def polynomials(u: Floats) -> Floats:
    """(..., 4) orthonormal Legendre polynomials 1 to 4 on (0, 1)."""
    x = 2 * u - 1
    return np.stack(
        [
            np.sqrt(3) * x,
            np.sqrt(5) * (3 * x**2 - 1) / 2,
            np.sqrt(7) * (5 * x**3 - 3 * x) / 2,
            np.sqrt(9) * (35 * x**4 - 30 * x**2 + 3) / 8,
        ],
        -1,
    )


def _statistic(values: Floats, ranks: Ints) -> Floats:
    """(S, F) Neyman's statistic of ranks (S, n, F)."""
    sums: Floats = values[ranks].sum(1)
    return np.asarray((sums**2).sum(-1) / ranks.shape[1])
