"""Corruptions that are given by their matrices, for moderate numbers of states.

    Matrices     Q(i / T, j / T) = Q_(i+1) ... Q_j
    RandomWalk   Q(s, t) = expm(c log(alpha_s / alpha_t) L),   L = A - diag(A 1),

A a symmetric adjacency. Where a table of p0 is pushed through them,
(p0 Q)_j = sum_i p0_i Q[i, j], it is in probabilities, scaled by the largest.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import accumulate, repeat
from typing import final

import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.kernels.corruptions import BayesCorruption, Indices, LogTable, safe_log
from unnoise.kernels.schedules import Linear, Schedule
from unnoise.spaces import Layout, Time


class DenseCorruption(BayesCorruption):
    """A corruption given by its matrices; for moderate K."""

    @property
    @abstractmethod
    def size(self) -> int:
        """K."""

    @abstractmethod
    def matrix(self, s: Time, t: Time) -> Float64[Tensor, "*batch k k"]:
        """Q(s, t): (K, K) for float times, (B, K, K) for tensors."""

    def check(self, k: int) -> None:
        if self.size != k:
            raise ConfigError(
                "the matrices have another size than the vocabulary", value=self.size, limit=k
            )

    def log_rows(self, x_s: Indices, s: Time, t: Time, k: int, layout: Layout) -> LogTable:
        q = self.matrix(s, t).to(x_s.device)
        return (q[x_s] if q.ndim == 2 else q[_samples(x_s, layout), x_s]).log()

    def column(self, x_t: Indices, s: Time, t: Time, like: LogTable, layout: Layout) -> LogTable:
        q = self.matrix(s, t).to(x_t.device).mT
        columns = q[x_t] if q.ndim == 2 else q[_samples(x_t, layout), x_t]
        return columns.log().to(like.dtype)

    def push(self, log_w: LogTable, s: Time, t: Time, layout: Layout) -> LogTable:
        q = self.matrix(s, t).to(log_w)
        top = log_w.amax(-1, keepdim=True).clamp(min=torch.finfo(log_w.dtype).min)
        w = (log_w - top).exp()
        if q.ndim == 2:
            return safe_log(w @ q) + top
        rows = q if layout.index is None else q[layout.index]
        flat = w.reshape(w.shape[0], -1, w.shape[-1])
        return safe_log(flat @ rows).view_as(w) + top


@final
@dataclass(frozen=True, eq=False)
class Matrices(DenseCorruption):
    """Any product of stochastic matrices: Q_1 .. Q_T, (T, K, K), step i at time i / T.

    Rows that miss 1 by less than 1e-6 are taken for rounded, and normalised in float64.
    """

    one_step: Shaped[Tensor, "steps k k"]

    def __post_init__(self) -> None:
        q = self.one_step
        if q.ndim != 3 or q.shape[1] != q.shape[2] or q.shape[0] < 1:
            raise ConfigError("transition matrices are (T, K, K)", value=tuple(q.shape))
        q = q.detach().cpu().double()
        total = q.sum(-1, keepdim=True)
        worst = (total - 1).abs().max().item()
        if not worst < 1e-6 or q.min() < 0:
            raise ConfigError(
                "rows of a transition matrix are probabilities that sum to one",
                value=f"largest deviation {worst:.2e}, smallest entry {q.min():.2e}",
                fix="orientation is rows = from: Q[i, j] = q(x_t = j | x_s = i)",
            )
        object.__setattr__(self, "one_step", q / total)

    @staticmethod
    def discretised_gaussian(vocab: int, betas: tuple[float, ...]) -> Matrices:
        """Off-diagonal exp(-(2 k / (K - 1))^2 / beta) at distance k, normalised over all distances
        -(K - 1) .. K - 1; the diagonal is 1 - the rest of the row (Austin 2021, D3PM Gauss)."""
        if vocab < 2 or not betas or min(betas) <= 0:
            raise ConfigError(
                "a discretised Gaussian has two values or more and positive betas",
                value=(vocab, min(betas, default=None)),
            )
        offsets = torch.arange(-(vocab - 1), vocab, dtype=torch.float64)
        beta = torch.tensor(betas, dtype=torch.float64)[:, None]
        weights = torch.softmax(-((2 * offsets / (vocab - 1)) ** 2) / beta, -1)
        i = torch.arange(vocab)
        q = weights[:, (i[None, :] - i[:, None]) + vocab - 1]
        q[:, i, i] = 0
        q[:, i, i] = 1 - q.sum(-1)
        return Matrices(q)

    @property
    def steps(self) -> int | None:
        return len(self.one_step)

    @property
    def size(self) -> int:
        return len(self.one_step[0])

    @cached_property
    def _from_start(self) -> Tensor:
        """(T + 1, K, K): Q(0, i / T)."""
        start = torch.eye(self.size, dtype=torch.float64)
        return torch.stack(list(accumulate(self.one_step, torch.matmul, initial=start)))

    def matrix(self, s: Time, t: Time) -> Float64[Tensor, "*batch k k"]:
        if not isinstance(s, Tensor) and not isinstance(t, Tensor):
            return self._between(self._index(s), self._index(t))
        batch = max(v.numel() for v in (s, t) if isinstance(v, Tensor))
        pairs = [
            [self._index(u) for u in (v.tolist() if isinstance(v, Tensor) else [v] * batch)]
            for v in (s, t)
        ]
        return torch.stack([self._between(i, j) for i, j in zip(*pairs, strict=True)])

    def _between(self, i: int, j: int) -> Tensor:
        if i == 0:
            return self._from_start[j]
        return reduce(torch.matmul, self.one_step[i:j], torch.eye(self.size, dtype=torch.float64))

    def _index(self, t: float) -> int:
        steps = len(self.one_step)
        i = round(t * steps)
        if not 0 <= i <= steps or abs(t * steps - i) > 1e-6:
            raise InputError(
                "this kernel is defined at its own steps only",
                value=t,
                limit=f"i/{steps}, i = 0..{steps}",
                fix=f"use a number of steps that divides {steps}",
            )
        return i

    def log_prior(self, k: int) -> Float64[Tensor, " k"]:
        return self._from_start[-1].mean(0).log()


@final
@dataclass(frozen=True, eq=False)
class RandomWalk(DenseCorruption):
    """A lazy walk on a graph: Q(s, t) = expm(rate / gap log(alpha_s / alpha_t) (A - diag(A 1))).

    `gap` is the smallest nonzero decay rate of A - diag(A 1): the slowest mode of the walk decays
    as alpha^rate, so that it has forgotten the data, and is uniform, where alpha is near 0
    (Austin 2021, D3PM NN).

    Parameters
    ----------
    adjacency : (K, K) symmetric, non-negative and connected: neighbours of ordinal values, or of
        embeddings.
    """

    adjacency: Shaped[Tensor, "k k"]
    schedule: Schedule = field(default_factory=lambda: Linear(1e-4))
    rate: float = 1.0

    def __post_init__(self) -> None:
        a = self.adjacency.detach().cpu().double()
        square = a.ndim == 2 and a.shape[0] == a.shape[1] >= 2
        if (
            not square
            or not torch.isfinite(a).all()
            or (a < 0).any()
            or not torch.allclose(a, a.mT)
        ):
            raise ConfigError(
                "an adjacency is square, symmetric and non-negative",
                value=f"{tuple(a.shape)}, smallest entry {a.min():.2e}",
            )
        reached = _reached(a > 0)
        if reached < len(a):
            raise ConfigError(
                "the graph is not connected: data in one part would never reach another",
                value=f"{reached} of {len(a)} states are connected with the first",
                fix="use more neighbours",
            )
        alpha_1 = float(self.schedule.alpha(1.0))
        if not 0 < alpha_1 < 1 or not 0 < self.rate < math.inf:
            raise ConfigError(
                "a random walk takes a finite, positive time",
                value=f"alpha(1) = {alpha_1}, rate = {self.rate}",
                limit="0 < alpha(1) < 1, rate > 0",
                fix="use Linear(1e-4)",
            )
        object.__setattr__(self, "adjacency", (a + a.mT) / 2)

    @staticmethod
    def bands(
        vocab: int, width: int = 1, schedule: Schedule | None = None, rate: float = 1.0
    ) -> RandomWalk:
        """Ordinal values: each is a neighbour of those at most `width` away."""
        if not 1 <= width < vocab:
            raise ConfigError("width is out of range", value=width, limit=f"1 to {vocab - 1}")
        i = torch.arange(vocab)
        distance = (i[:, None] - i[None, :]).abs()
        near = ((distance > 0) & (distance <= width)).double()
        return RandomWalk(near / (2 * width), schedule or Linear(1e-4), rate)

    @staticmethod
    def nearest_neighbours(
        embeddings: Float[Tensor, "k d"],
        neighbours: int,
        schedule: Schedule | None = None,
        rate: float = 1.0,
    ) -> RandomWalk:
        """Rows of `embeddings` and their `neighbours` nearest others, symmetrised."""
        vocab = len(embeddings)
        if not 1 <= neighbours < vocab:
            raise ConfigError(
                "neighbours is out of range", value=neighbours, limit=f"1 to {vocab - 1}"
            )
        if not torch.isfinite(embeddings).all():
            raise NonFiniteError("the embeddings have NaN or infinite entries")
        distance = torch.cdist(embeddings.double(), embeddings.double())
        distance.fill_diagonal_(math.inf)
        near = distance.topk(neighbours, largest=False).indices
        a = torch.zeros(vocab, vocab, dtype=torch.float64).scatter_(1, near, 1.0)
        return RandomWalk((a + a.mT) / (2 * neighbours), schedule or Linear(1e-4), rate)

    @property
    def steps(self) -> int | None:
        return self.schedule.steps

    @property
    def size(self) -> int:
        return len(self.adjacency)

    # Q is a sum over Poisson-distributed numbers of jumps. Every term is positive, so that small
    # probabilities keep their relative accuracy: Bayes' rule divides by them. The eigenvectors
    # would give them with an error of 1e-16.

    @cached_property
    def _speed(self) -> float:
        """Expected number of jumps while alpha falls by a factor of e."""
        degree = self.adjacency.sum(-1)
        rates = torch.linalg.eigvalsh(torch.diag(degree) - self.adjacency)
        return self.rate * float(degree.max() / rates[1])

    @cached_property
    def _powers(self) -> Float64[Tensor, "n k k"]:
        """Q of exactly 0, 1, 2, .. jumps."""
        degree = self.adjacency.sum(-1)
        jump = self.adjacency + torch.diag(degree.max() - degree)
        return _cumulative(jump / jump.sum(-1, keepdim=True), _JUMPS)

    @cached_property
    def _digits(self) -> list[Tensor]:
        """Q of d 16^i expected jumps, d = 0 .. 15, for i = 0, 1, .."""
        levels: list[Tensor] = []
        unit = self._poisson(torch.tensor(1.0, dtype=torch.float64))
        most = -self._speed * math.log(self.schedule.alpha(1.0))
        while 16 ** len(levels) <= most:
            levels.append(_cumulative(unit, 16))
            unit = levels[-1][-1] @ unit
        return levels

    def _poisson(self, jumps: Tensor) -> Tensor:
        """Q of at most one expected jump."""
        n = torch.arange(_JUMPS, dtype=torch.float64)
        weight = torch.exp(
            torch.xlogy(n, jumps[..., None]) - jumps[..., None] - torch.lgamma(n + 1)
        )
        weight = weight / weight.sum(-1, keepdim=True)
        q = weight @ self._powers.flatten(1)
        return q.view(*jumps.shape, self.size, self.size)

    def matrix(self, s: Time, t: Time) -> Float64[Tensor, "*batch k k"]:
        q, levels = self._factors(s, t)
        for level in levels:
            q = q @ level
        return q

    def _factors(self, s: Time, t: Time) -> tuple[Tensor, list[Tensor]]:
        """Q(s, t) as a product: of less than one expected jump, and of 16^i times a digit each."""
        ratio = torch.as_tensor(
            self.schedule.alpha(s) / self.schedule.alpha(t), dtype=torch.float64
        ).cpu()
        jumps = self._speed * ratio.log().clamp(min=0)
        whole = jumps.floor()
        first, levels = self._poisson(jumps - whole), []
        for level in self._digits:
            if whole.any():
                levels.append(level[(whole % 16).long()])
            whole = whole.div(16, rounding_mode="floor")
        if whole.any():
            raise ConfigError("a random walk's schedule may not change")
        return first, levels

    # One row for each token takes less than the whole matrix of each sample, where there are more
    # states than tokens in a sample.

    def log_rows(self, x_s: Indices, s: Time, t: Time, k: int, layout: Layout) -> LogTable:
        if not self._by_sample(s, t, layout):
            return super().log_rows(x_s, s, t, k, layout)
        first, levels = self._factors(s, t)
        rows = first.to(x_s.device)[_samples(x_s, layout), x_s]
        return _through(rows, levels).log()

    def column(self, x_t: Indices, s: Time, t: Time, like: LogTable, layout: Layout) -> LogTable:
        # Q is symmetric
        return self.log_rows(x_t, s, t, like.shape[-1], layout).to(like.dtype)

    def push(self, log_w: LogTable, s: Time, t: Time, layout: Layout) -> LogTable:
        if not self._by_sample(s, t, layout):
            return super().push(log_w, s, t, layout)
        top = log_w.amax(-1, keepdim=True).clamp(min=torch.finfo(log_w.dtype).min)
        first, levels = self._factors(s, t)
        return safe_log(_through((log_w - top).exp(), [first, *levels])) + top

    def _by_sample(self, s: Time, t: Time, layout: Layout) -> bool:
        return layout.index is None and any(isinstance(v, Tensor) and v.ndim for v in (s, t))

    def log_prior(self, k: int) -> Float64[Tensor, " k"]:
        return torch.full((k,), -math.log(k), dtype=torch.float64)


def _through(rows: Tensor, levels: Sequence[Tensor]) -> Tensor:
    """Rows (B, ..., K) times matrices (B, K, K) of each sample."""
    flat = rows.flatten(1, -2) if rows.ndim > 2 else rows[:, None]
    for level in levels:
        flat = flat @ level.to(flat)
    return flat.view(rows.shape)


_JUMPS = 24  # the probability of more when one is expected: 1e-24


def _cumulative(q: Tensor, n: int) -> Tensor:
    """(n, K, K): Q^0 .. Q^(n - 1)."""
    start = torch.eye(len(q), dtype=torch.float64)
    return torch.stack(list(accumulate(repeat(q, n - 1), torch.matmul, initial=start)))


def _reached(near: Tensor) -> int:
    """Number of states that are connected with the first."""
    reached = torch.eye(len(near), dtype=torch.bool)[0]
    while True:
        grown = reached | near[reached].any(0)
        if torch.equal(grown, reached):
            return int(reached.sum())
        reached = grown


def _samples(x: Tensor, layout: Layout) -> Tensor:
    """The sample number of each token, in the shape of `x`."""
    rows = torch.arange(layout.batch, device=x.device) if layout.index is None else layout.index
    return rows.view(-1, *(1,) * (x.ndim - 1)).expand(x.shape)
