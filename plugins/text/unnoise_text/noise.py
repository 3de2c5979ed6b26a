"""The process that a configuration names: kernel, schedule, graph, matrices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    Corruption,
    CosineSurvival,
    Linear,
    Matrices,
    RandomWalk,
    Schedule,
    SurvivalTable,
    Uniform,
    information_times,
)
from unnoise.spaces import Tokens
from unnoise_text.configuration import Configuration, Learned

LARGEST_GRAPH: Final = 512
"""Tokens of a kernel that is given by its matrices."""
_FLOOR, _RATIOS = 1e-4, 1e-3  # survival at time 1
_KNOTS = 100


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
    n = configuration.chain
    if known.survival is not None:
        return SurvivalTable(known.survival, discrete=n is not None)
    linear = configuration.schedule == "linear"
    smooth: Schedule = Linear(floor) if linear else CosineSurvival(floor)
    return smooth if n is None else SurvivalTable.of(smooth, [i / n for i in range(n + 1)])


def informed(configuration: Configuration, unigram: Tensor) -> tuple[float, ...]:
    """Survival at i / n of the mutual-information schedule, from frequencies (K,) of tokens; n is
    T of a chain, or else enough for a smooth table."""
    steps = configuration.chain or _KNOTS
    if configuration.kernel == "matrix":
        raise ConfigError("matrices are their own schedule", fix="leave schedule out")
    plain = configuration.model_copy(update={"schedule": "linear", "chain": None})
    corruption = kernel_of(plain).corruption
    alpha = _schedule(plain, plain.known).alpha
    if configuration.kernel == "absorbing":  # for which it is 1 - i / n, whatever the frequencies
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
        said = "it holds objects, which numpy pickles" if "pickle" in str(error) else error
        raise InputError(
            f"{what} cannot be read: {said}", value=path, limit="a .npy file of numbers"
        ) from error


def frequencies(tokens: Sequence[int] | np.ndarray, size: int) -> Tensor:
    """(K,) frequencies of tokens."""
    counts = torch.bincount(torch.as_tensor(np.asarray(tokens)).long(), minlength=size)
    return counts.double() / counts.sum()
