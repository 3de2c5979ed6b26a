"""The noise of a defence: fresh at each call, or pinned.

A defence that draws anew each time is the one that users run. Pinned, it is a function: what finite
differences and some attacks need, and what flatters it never, since an attack that knows the noise
is stronger. Either way a number belongs to (seed, place): nothing depends on global random numbers.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, final

from unnoise.errors import InputError
from unnoise.noise import NoiseSource

_CALL: Final = 1 << 32  # sample numbers of one call
_DRAWS: Final = 1 << 39  # of one picture


class Draws(ABC):
    """Where the noise of each call of a defence comes from. Closed: `Fresh`, `Pinned`."""

    def __init__(self, seed: int = 0) -> None:
        NoiseSource(seed, [])  # says so when there is no such seed
        self.seed = seed

    @abstractmethod
    def source(self, count: int) -> NoiseSource:
        """Streams of `count` samples."""


@final
class Fresh(Draws):
    """Other noise at each call: call number n of a seed is always the same. It counts its calls."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._calls = itertools.count()

    def source(self, count: int) -> NoiseSource:
        begin = next(self._calls) * _CALL
        return NoiseSource(self.seed, range(begin, begin + count))


@final
class Pinned(Draws):
    """The same noise at each call, by place in the batch."""

    def source(self, count: int) -> NoiseSource:
        return NoiseSource(self.seed, range(count))


def numbered(
    seed: int, pictures: Sequence[int], query: int, votes: int = 1, queries: int = 1
) -> NoiseSource:
    """The noise of `queries` from `query` on of pictures by their numbers, each query `votes` times
    in a row and those of a picture after each other: what a measurement draws, whatever batch a
    picture is in, and however many queries are asked at once."""
    ids = [draw for k in pictures for draw in draws_of(k, query * votes, queries * votes)]
    return NoiseSource(seed, ids)


def parts(total: int, most: int) -> list[tuple[int, int]]:
    """Beginnings and lengths of parts of at most `most`, which together are 0 .. total - 1."""
    return [(begin, min(most, total - begin)) for begin in range(0, total, most)]


def draws_of(picture: int, begin: int, count: int) -> range:
    """The sample numbers of draws `begin` .. `begin + count - 1` of a picture by its number."""
    if not 0 <= picture < 1 << 24 or not 0 <= begin <= _DRAWS - count:
        raise InputError(
            "too many pictures or queries",
            value=(picture, begin),
            limit=f"{1 << 24} pictures, {_DRAWS} draws of each",
        )
    return range(picture * _DRAWS + begin, picture * _DRAWS + begin + count)
