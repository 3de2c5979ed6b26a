"""The rates that WaveGrad's blocks work at, and how far they see."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LONG, _SHORT = (1, 2, 4, 8), (1, 2, 1, 2)


def default_factors(hop: int) -> tuple[int, ...]:
    """The prime factors, largest first, of which the smallest two are joined while there are more
    than five: 300 = 5 5 3 2 2, 256 = 4 4 4 2 2."""
    found, k = [], 2
    while hop > 1:
        while hop % k == 0:
            found.append(k)
            hop //= k
        k += 1
    while len(found) > 5:
        found = sorted([found[0] * found[1], *found[2:]])
    return tuple(reversed(found))


def dilations(place: int, count: int) -> tuple[int, ...]:
    """Of the block number `place` of `count` that go up."""
    return _LONG if place >= count - 3 else _SHORT


def reach(factors: Sequence[int], large: bool) -> int:
    """Frames on each side that an output depends on, at most."""
    rates = [math.prod(factors[: k + 1]) for k in range(len(factors))]
    again = 2 if large else 1
    far = 1 + 1 / rates[-1]  # the mel's convolution, and the last one
    for place, rate in enumerate(rates):
        far += again * sum(dilations(place, len(rates))) / rate
        far += factors[place] / rate  # a sample that is repeated stands for as many
    # down: the first convolution, those of every block and of the last FiLM; thinned out samples
    down = 2 / rates[-1] + sum((again * 7 + 1) / rate for rate in rates[:-1])
    return math.ceil(far + down + 2 / rates[0])
