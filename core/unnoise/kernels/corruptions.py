"""Corruptions: how a categorical kernel moves probability between K states.

A corruption is a family of stochastic matrices Q(s, t), rows = from: Q[i, j] = q(x_t = j | x_s = i),
with Q(s, t) Q(t, u) = Q(s, u). Everything is in log space, and the large-vocabulary ones (uniform,
absorbing) never build a matrix.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from unnoise.distributions import one_hot_log
from unnoise.errors import ConfigError, InputError
from unnoise.kernels.schedules import Linear, Schedule
from unnoise.spaces import Layout, Time


class Corruption(ABC):
    """Q(s, t) on K states. Tables are (rows, ..., K); times are floats or (B,) tensors."""

    @property
    @abstractmethod
    def steps(self) -> int | None:
        """T when Q is only defined at times i / T, else None."""

    @abstractmethod
    def log_rows(self, x_s: Tensor, s: Time, t: Time, k: int, layout: Layout) -> Tensor:
        """log q(x_t = . | x_s): (rows, ..., K)."""

    @abstractmethod
    def log_posterior(
        self, log_p0: Tensor, x_t: Tensor, t: Time, s: Time, layout: Layout
    ) -> Tensor:
        """log of sum_i p0_i q(x_s = . | x_t, x_0 = i), the exact mixture, normalised."""

    @abstractmethod
    def log_joint(self, log_p0: Tensor, x_t: Tensor, t: Time, s: Time, layout: Layout) -> Tensor:
        """log of sum_i p0_i q(x_s = ., x_t | x_0 = i), normalised: the form of D3PM."""

    @abstractmethod
    def log_prior(self, k: int) -> Tensor:
        """(K,) log q(x_1)."""


@final
@dataclass(frozen=True)
class Uniform(Corruption):
    """Q(s, t) = a I + (1 - a) / K, a = alpha_t / alpha_s: a token is resampled uniformly."""

    schedule: Schedule = field(default_factory=Linear)

    @property
    def steps(self) -> int | None:
        return self.schedule.steps

    def log_rows(self, x_s: Tensor, s: Time, t: Time, k: int, layout: Layout) -> Tensor:
        a = _survival(self.schedule, s, t, x_s.ndim, layout)
        table = torch.log((1 - a) / k)[..., None].expand(*x_s.shape, k).clone()
        stay = torch.log(a + (1 - a) / k).expand(x_s.shape)
        return table.scatter_(-1, x_s[..., None], stay[..., None])

    def _push(self, log_w: Tensor, s: Time, t: Time, layout: Layout) -> Tensor:
        """log of w Q(s, t)."""
        a = _survival(self.schedule, s, t, log_w.ndim, layout)
        move = torch.log((1 - a) / log_w.shape[-1]).to(log_w.dtype)
        return torch.logaddexp(
            log_w + a.log().to(log_w.dtype), log_w.logsumexp(-1, keepdim=True) + move
        )

    def _column(self, x_t: Tensor, s: Time, t: Time, like: Tensor, layout: Layout) -> Tensor:
        """log q(x_t | x_s = .), the column of Q(s, t) at x_t; Q is symmetric."""
        return self.log_rows(x_t, s, t, like.shape[-1], layout).to(like.dtype)

    def log_posterior(
        self, log_p0: Tensor, x_t: Tensor, t: Time, s: Time, layout: Layout
    ) -> Tensor:
        return _mixture(self, log_p0, x_t, t, s, layout)

    def log_joint(self, log_p0: Tensor, x_t: Tensor, t: Time, s: Time, layout: Layout) -> Tensor:
        return _joint(self, log_p0, x_t, t, s, layout)

    def log_prior(self, k: int) -> Tensor:
        return torch.full((k,), -math.log(k), dtype=_F)


@final
@dataclass(frozen=True)
class Absorbing(Corruption):
    """A token survives with probability alpha_t / alpha_s, else becomes `mask` for good."""

    mask: int
    schedule: Schedule = field(default_factory=Linear)

    @property
    def steps(self) -> int | None:
        return self.schedule.steps

    def log_rows(self, x_s: Tensor, s: Time, t: Time, k: int, layout: Layout) -> Tensor:
        a = _survival(self.schedule, s, t, x_s.ndim, layout).expand(x_s.shape)
        table = torch.full((*x_s.shape, k), -math.inf, dtype=_F, device=x_s.device)
        table.scatter_(-1, x_s[..., None], a.log()[..., None])
        table[..., self.mask] = torch.where(x_s == self.mask, 0.0, torch.log1p(-a))
        return table

    def log_posterior(
        self, log_p0: Tensor, x_t: Tensor, t: Time, s: Time, layout: Layout
    ) -> Tensor:
        # Behind a mask: unmasked within (s, t] with probability (a_s - a_t) / (1 - a_t), else still
        # hidden at s. A token that is seen at t was there at s.
        a_t = _survival(self.schedule, 0.0, t, x_t.ndim, layout)
        a_s = _survival(self.schedule, 0.0, s, x_t.ndim, layout)
        shown = torch.log((a_s - a_t) / (1 - a_t)).to(log_p0.dtype)
        hidden = torch.log((1 - a_s) / (1 - a_t)).to(log_p0.dtype)
        table = log_p0 + shown[..., None]
        log_mask = log_p0[..., self.mask]  # a mask that belongs to the data stays one
        log_real = torch.log1p(-log_mask.exp().clamp(max=1.0))
        table[..., self.mask] = torch.logaddexp(log_real + hidden, log_mask)
        seen = (x_t != self.mask)[..., None]
        table.masked_fill_(seen, -math.inf)
        return table.scatter_(-1, x_t[..., None], table.gather(-1, x_t[..., None]).masked_fill(seen, 0))

    def log_joint(self, log_p0: Tensor, x_t: Tensor, t: Time, s: Time, layout: Layout) -> Tensor:
        # q(x_t | x_0) is the same for every x_0 behind a mask: the two forms are one
        return self.log_posterior(log_p0, x_t, t, s, layout)

    def log_prior(self, k: int) -> Tensor:
        return one_hot_log(torch.tensor(self.mask), torch.empty(k, dtype=_F))


class DenseCorruption(Corruption):
    """A corruption given by its matrices; for moderate K."""

    @abstractmethod
    def matrix(self, s: Time, t: Time) -> Tensor:
        """Q(s, t), float64: (K, K) for float times, (B, K, K) for tensors."""

    def log_rows(self, x_s: Tensor, s: Time, t: Time, k: int, layout: Layout) -> Tensor:
        q = self._checked(s, t, k).to(x_s.device)
        return (q[x_s] if q.ndim == 2 else q[_samples(x_s, layout), x_s]).log()

    def _column(self, x_t: Tensor, s: Time, t: Time, like: Tensor, layout: Layout) -> Tensor:
        q = self._checked(s, t, like.shape[-1]).to(x_t.device).mT
        columns = q[x_t] if q.ndim == 2 else q[_samples(x_t, layout), x_t]
        return columns.log().to(like.dtype)

    def _push(self, log_w: Tensor, s: Time, t: Time, layout: Layout) -> Tensor:
        q = self._checked(s, t, log_w.shape[-1]).to(log_w)
        top = log_w.amax(-1, keepdim=True).clamp(min=torch.finfo(log_w.dtype).min)
        w = (log_w - top).exp()
        if q.ndim == 2:
            return _log(w @ q) + top
        rows = q if layout.index is None else q[layout.index]
        flat = w.reshape(w.shape[0], -1, w.shape[-1])
        return _log(flat @ rows).view_as(w) + top

    def log_posterior(
        self, log_p0: Tensor, x_t: Tensor, t: Time, s: Time, layout: Layout
    ) -> Tensor:
        return _mixture(self, log_p0, x_t, t, s, layout)

    def log_joint(self, log_p0: Tensor, x_t: Tensor, t: Time, s: Time, layout: Layout) -> Tensor:
        return _joint(self, log_p0, x_t, t, s, layout)

    def _checked(self, s: Time, t: Time, k: int) -> Tensor:
        q = self.matrix(s, t)
        if q.shape[-1] != k:
            raise ConfigError("the matrices have another size than the vocabulary", value=q.shape[-1], limit=k)
        return q


@final
@dataclass(frozen=True, eq=False)
class Matrices(DenseCorruption):
    """Any product of stochastic matrices: Q_1 .. Q_T, (T, K, K), step i at time i / T."""

    one_step: Tensor

    def __post_init__(self) -> None:
        q = self.one_step
        if q.ndim != 3 or q.shape[1] != q.shape[2] or q.shape[0] < 1:
            raise ConfigError("transition matrices are (T, K, K)", value=tuple(q.shape))
        object.__setattr__(self, "one_step", q.double())
        worst = (self.one_step.sum(-1) - 1).abs().max().item()
        if not worst < 1e-6 or self.one_step.min() < 0:
            raise ConfigError(
                "rows of a transition matrix are probabilities that sum to one",
                value=f"largest deviation {worst:.2e}, smallest entry {self.one_step.min():.2e}",
                fix="orientation is rows = from: Q[i, j] = q(x_t = j | x_s = i)",
            )

    @staticmethod
    def discretised_gaussian(vocab: int, betas: tuple[float, ...]) -> Matrices:
        """Off-diagonal exp(-(2 k / (K - 1))^2 / beta) at distance k, normalised over all distances
        -(K-1) .. K-1; the diagonal is 1 - the rest of the row (Austin 2021, D3PM-Gauss)."""
        offsets = torch.arange(-(vocab - 1), vocab, dtype=_F)
        beta = torch.tensor(betas, dtype=_F)[:, None]
        weights = torch.softmax(-((2 * offsets / (vocab - 1)) ** 2) / beta, -1)
        i = torch.arange(vocab)
        q = weights[:, (i[None, :] - i[:, None]) + vocab - 1]
        q[:, i, i] = 0
        q[:, i, i] = 1 - q.sum(-1)
        return Matrices(q)

    @property
    def steps(self) -> int | None:
        return len(self.one_step)

    @cached_property
    def _from_start(self) -> Tensor:
        """(T + 1, K, K): Q(0, i / T)."""
        total = [torch.eye(self.one_step.shape[-1], dtype=_F)]
        for q in self.one_step:
            total.append(total[-1] @ q)
        return torch.stack(total)

    def matrix(self, s: Time, t: Time) -> Tensor:
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
        q = torch.eye(self.one_step.shape[-1], dtype=_F)
        for step in self.one_step[i:j]:
            q = q @ step
        return q

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

    def log_prior(self, k: int) -> Tensor:
        return self._from_start[-1].mean(0).log()


@final
@dataclass(frozen=True, eq=False)
class RandomWalk(DenseCorruption):
    """Q(s, t) = expm(rate log(alpha_s / alpha_t) (A - diag(A 1))): a lazy walk on a graph.

    `adjacency` (K, K) is symmetric, non-negative and connected: neighbours of ordinal values, or of
    embeddings. The walk ends in the uniform distribution (Austin 2021, D3PM-NN).
    """

    adjacency: Tensor
    schedule: Schedule = field(default_factory=lambda: Linear(1e-4))
    rate: float = 1.0

    def __post_init__(self) -> None:
        a = self.adjacency.double()
        if a.ndim != 2 or a.shape[0] != a.shape[1] or (a < 0).any() or not torch.allclose(a, a.mT):
            raise ConfigError(
                "an adjacency is square, symmetric and non-negative", value=tuple(a.shape)
            )
        object.__setattr__(self, "adjacency", a)
        if self._spectrum[0][-2] > -1e-9:
            raise ConfigError(
                "the graph is not connected: data in one part would never reach another",
                fix="use more neighbours",
            )

    @staticmethod
    def bands(vocab: int, width: int = 1, schedule: Schedule | None = None, rate: float = 1.0) -> RandomWalk:
        """Ordinal values: each is a neighbour of those at most `width` away."""
        i = torch.arange(vocab)
        distance = (i[:, None] - i[None, :]).abs()
        near = ((distance > 0) & (distance <= width)).double()
        return RandomWalk(near / (2 * width), schedule or Linear(1e-4), rate)

    @staticmethod
    def nearest_neighbours(
        embeddings: Tensor, neighbours: int, schedule: Schedule | None = None, rate: float = 1.0
    ) -> RandomWalk:
        """Rows of `embeddings` (K, d) and their `neighbours` nearest others, symmetrised."""
        distance = torch.cdist(embeddings.double(), embeddings.double())
        distance.fill_diagonal_(math.inf)
        near = distance.topk(neighbours, largest=False).indices
        a = torch.zeros(len(embeddings), len(embeddings), dtype=_F).scatter_(1, near, 1.0)
        return RandomWalk((a + a.mT) / (2 * neighbours), schedule or Linear(1e-4), rate)

    @property
    def steps(self) -> int | None:
        return self.schedule.steps

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        generator = self.adjacency - torch.diag(self.adjacency.sum(-1))
        values, vectors = torch.linalg.eigh(generator)
        values[-1] = 0.0  # the uniform distribution, known exactly
        return values.clamp(max=0.0), vectors

    def matrix(self, s: Time, t: Time) -> Tensor:
        values, vectors = self._spectrum
        ratio = torch.as_tensor(self.schedule.alpha(s) / self.schedule.alpha(t), dtype=_F).cpu()
        if torch.isinf(ratio).any():
            raise ConfigError("alpha must stay above zero for a random walk", fix="use Linear(1e-4)")
        growth = torch.exp(self.rate * ratio.log()[..., None] * values)
        q = (vectors * growth[..., None, :]) @ vectors.mT
        q = q.clamp(min=0)
        return q / q.sum(-1, keepdim=True)

    def log_prior(self, k: int) -> Tensor:
        return torch.full((k,), -math.log(k), dtype=_F)


_F = torch.float64


def _log(p: Tensor) -> Tensor:
    """log p whose gradient stays finite where p underflows."""
    return p.clamp(min=torch.finfo(p.dtype).tiny).log()


def _survival(schedule: Schedule, s: Time, t: Time, ndim: int, layout: Layout) -> Tensor:
    """alpha_t / alpha_s in float64, broadcast over `ndim` axes of rows."""
    a = torch.as_tensor(schedule.alpha(t) / schedule.alpha(s), dtype=_F, device=layout.device)
    expanded = layout.expand(a, torch.empty((1,) * ndim, dtype=_F))
    assert isinstance(expanded, Tensor)
    return expanded


def _mixture(
    q: Uniform | DenseCorruption, log_p0: Tensor, x_t: Tensor, t: Time, s: Time, layout: Layout
) -> Tensor:
    """sum_i p0_i q(x_s | x_t, x_0 = i) = q(x_t | x_s) sum_i (p0_i / q(x_t | i)) q(x_s | i)."""
    column = q._column(x_t, 0.0, t, log_p0, layout)
    log_w = torch.where(column > -math.inf, log_p0 - column, -math.inf)
    table = q._push(log_w, 0.0, s, layout) + q._column(x_t, s, t, log_p0, layout)
    return table.log_softmax(-1)


def _joint(
    q: Uniform | DenseCorruption, log_p0: Tensor, x_t: Tensor, t: Time, s: Time, layout: Layout
) -> Tensor:
    """q(x_t | x_s) sum_i p0_i q(x_s | i), normalised."""
    table = q._push(log_p0, 0.0, s, layout) + q._column(x_t, s, t, log_p0, layout)
    return table.log_softmax(-1)


def _samples(x: Tensor, layout: Layout) -> Tensor:
    """The sample number of each token, in the shape of `x`."""
    rows = torch.arange(layout.batch, device=x.device) if layout.index is None else layout.index
    return rows.view(-1, *(1,) * (x.ndim - 1)).expand(x.shape)
