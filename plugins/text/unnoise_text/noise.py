"""The process that a configuration names: kernel, schedule, graph, matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    Corruption,
    Linear,
    Matrices,
    RandomWalk,
    Schedule,
    Uniform,
    information_times,
)
from unnoise.spaces import Time, Tokens
from unnoise_text.configuration import Configuration, Learned

LARGEST_GRAPH: Final = 512
"""Tokens of a kernel that is given by its matrices."""
_FLOOR, _RATIOS = 1e-4, 1e-3  # survival at time 1


class Survival(Schedule):
    """A schedule that is given by alpha alone, the probability that a token survives."""

    def sigma(self, t: Time) -> Time:
        return 1 - self.alpha(t)

    def d_sigma(self, t: Time) -> Time:
        return -self.d_alpha(t)


@final
@dataclass(frozen=True)
class Cosine(Survival):
    """alpha = floor + (1 - floor) cos(pi t / 2)."""

    floor: float = 0.0

    @property
    def steps(self) -> int | None:
        return None

    def alpha(self, t: Time) -> Time:
        if isinstance(t, Tensor):
            # the cosine of a rounded pi / 2 is not quite 0
            cosine = torch.where(t == 1, 0.0, torch.cos(0.5 * math.pi * t))
            return self.floor + (1 - self.floor) * cosine
        return self.floor + (1 - self.floor) * (0.0 if t == 1 else math.cos(0.5 * math.pi * t))

    def d_alpha(self, t: Time) -> Time:
        slope = -0.5 * math.pi * (1 - self.floor)
        if isinstance(t, Tensor):
            return slope * torch.sin(0.5 * math.pi * t)
        return slope * math.sin(0.5 * math.pi * t)


@final
@dataclass(frozen=True)
class Table(Survival):
    """alpha at i / T, i = 0 .. T, linear between them.

    Parameters
    ----------
    values : alpha_0 = 1 >= .. >= alpha_T >= 0, strictly decreasing.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        v = self.values
        falling = all(a > b for a, b in pairwise(v))
        if len(v) < 2 or v[0] != 1 or v[-1] < 0 or not falling:
            raise ConfigError("a table of survival falls from 1 to 0 or more", value=v[:4])

    @property
    def steps(self) -> int | None:
        return len(self.values) - 1

    @cached_property
    def _values(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)

    def alpha(self, t: Time) -> Time:
        n = len(self.values) - 1
        if not isinstance(t, Tensor):
            i = min(max(math.ceil(t * n - 1e-9) - 1, 0), n - 1)
            a, b = self.values[i], self.values[i + 1]
            share = min(max(t * n - i, 0.0), 1.0)
            return b if abs(share - 1) < 1e-9 else a + (b - a) * share
        v = self._values.to(t.device)
        left = (torch.ceil(t * n - 1e-9) - 1).clamp(0, n - 1)
        j, share = left.long(), (t * n - left).clamp(0, 1)
        return torch.where((share - 1).abs() < 1e-9, v[j + 1], v[j] + (v[j + 1] - v[j]) * share)

    def d_alpha(self, t: Time) -> Time:
        n = len(self.values) - 1
        if not isinstance(t, Tensor):
            i = min(max(math.ceil(t * n - 1e-9) - 1, 0), n - 1)
            return (self.values[i + 1] - self.values[i]) * n
        v = self._values.to(t.device)
        j = (torch.ceil(t * n - 1e-9) - 1).clamp(0, n - 1).long()
        return (v[j + 1] - v[j]) * n


def kernel_of(configuration: Configuration) -> CategoricalKernel:
    """The kernel of a completed configuration."""
    known = configuration.known
    space = Tokens(known.vocab)
    schedule = _schedule(configuration, known)
    corruption: Corruption
    if configuration.kernel == "absorbing":
        corruption = Absorbing(mask_of(configuration), schedule)
    elif configuration.kernel == "uniform":
        corruption = Uniform(schedule)
    elif configuration.kernel == "nearest":
        assert known.adjacency is not None
        corruption = RandomWalk(torch.tensor(known.adjacency, dtype=torch.float64), schedule)
    else:
        assert known.transitions is not None
        q = torch.tensor(known.transitions, dtype=torch.float64)
        if len(q) == 1:
            q = q.expand(configuration.chain or 1000, -1, -1)
        corruption = Matrices(q)
    return CategoricalKernel(space, corruption, configuration.posterior)


def mask_of(configuration: Configuration) -> int:
    """The mask: the vocabulary's own, or the last token of the network."""
    known = configuration.known
    return known.vocab - 1 if known.mask is None else known.mask


def _schedule(configuration: Configuration, known: Learned) -> Schedule:
    # a walk forgets in infinite time only, and ratios tell nothing where alpha is 0
    ratios = configuration.goal == "score_entropy" and configuration.kernel == "uniform"
    floor = _FLOOR if configuration.kernel == "nearest" else _RATIOS if ratios else 0.0
    if known.survival is not None:
        return Table(known.survival)
    smooth: Schedule = Linear(floor) if configuration.schedule == "linear" else Cosine(floor)
    n = configuration.chain
    if n is None:
        return smooth
    return Table(tuple(float(smooth.alpha(i / n)) for i in range(n + 1)))


def informed(configuration: Configuration, unigram: Tensor) -> tuple[float, ...]:
    """Survival at i / T of the mutual-information schedule, from frequencies (K,) of tokens."""
    steps = configuration.chain or 1000
    if configuration.kernel == "matrix":
        raise ConfigError("matrices are their own schedule", fix="leave schedule out")
    plain = configuration.model_copy(update={"schedule": "linear", "chain": None})
    corruption = kernel_of(plain).corruption
    alpha = _schedule(plain, plain.known).alpha
    if configuration.kernel == "absorbing":  # for which it is 1 - i / T, whatever the frequencies
        return tuple(1 - i / steps for i in range(steps + 1))
    times = information_times(corruption, unigram, steps)
    return tuple(float(alpha(t)) for t in times.tolist())


def adjacency_of(
    configuration: Configuration, size: int, pairs: np.ndarray | None
) -> tuple[tuple[float, ...], ...]:
    """The graph of the nearest kernel: each token and its nearest others, as many more as it takes
    to connect all of them.

    Parameters
    ----------
    pairs : (K, K) how often one token followed another, for graph='contexts'.
    """
    if size > LARGEST_GRAPH:
        raise ConfigError(
            "the nearest kernel is for small vocabularies",
            value=size,
            limit=LARGEST_GRAPH,
            fix="use characters, or the absorbing or uniform kernel",
        )
    if configuration.graph == "alphabet":
        places = np.arange(size, dtype=np.float64)[:, None]
    elif configuration.graph == "contexts":
        assert pairs is not None
        both = np.concatenate([pairs, pairs.T], 1) + 1e-3
        places = np.sqrt(both / both.sum(1, keepdims=True))
    else:
        places = _array(configuration.graph, "embeddings")
        if places.ndim != 2 or len(places) != size:
            raise InputError(
                "embeddings are one row for each token", value=places.shape, limit=f"({size}, d)"
            )
    start = min(configuration.neighbours, size - 1)
    for neighbours in range(start, size):
        try:
            walk = RandomWalk.nearest_neighbours(torch.from_numpy(places), neighbours)
        except ConfigError:
            if neighbours == size - 1:
                raise
            continue
        return tuple(tuple(row) for row in walk.adjacency.tolist())
    raise ConfigError("a graph has two tokens or more", value=size)


def transitions_of(path: str, size: int) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """The matrices of the matrix kernel, (1 or T, K, K)."""
    q = _array(path, "transitions")
    q = q[None] if q.ndim == 2 else q
    if q.shape[1:] != (size, size) or size > LARGEST_GRAPH:
        raise InputError(
            "transitions are (K, K) or (T, K, K) for the vocabulary's K tokens",
            value=q.shape,
            limit=f"K = {size}, at most {LARGEST_GRAPH}",
        )
    checked: Tensor = Matrices(torch.from_numpy(q)).one_step
    return tuple(tuple(tuple(row) for row in matrix) for matrix in checked.tolist())


def _array(path: str, what: str) -> np.ndarray:
    try:
        return np.asarray(np.load(Path(path), allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{what} cannot be read: {error}", value=path, limit="a .npy file"
        ) from error


def frequencies(tokens: Sequence[int] | np.ndarray, size: int) -> Tensor:
    """(K,) frequencies of tokens."""
    counts = torch.bincount(torch.as_tensor(np.asarray(tokens)).long(), minlength=size)
    return counts.double() / counts.sum()
