"""Corruptions: how a categorical kernel moves probability between K states.

A corruption is a family of stochastic matrices Q(s, t) with Q(s, t) Q(t, u) = Q(s, u), rows = from:
Q[i, j] = q(x_t = j | x_s = i). With a = alpha_t / alpha_s, the probability to survive from s to t,

    Uniform      Q = a I + (1 - a) 1 1^T / K
    Absorbing    Q = a I + (1 - a) 1 e_mask^T

and for a token that is masked at t

    q(x_s = x_0 | x_t = mask, x_0) = (alpha_s - alpha_t) / (1 - alpha_t), else it is masked still.

Everything is in log space, and the large-vocabulary ones (uniform, absorbing) never build a matrix.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from unnoise.distributions import inverse_cdf, one_hot_log
from unnoise.errors import ConfigError
from unnoise.kernels.schedules import Linear, Schedule
from unnoise.spaces import Layout, Time

Indices: TypeAlias = Int64[Tensor, "*rows"]
LogTable: TypeAlias = Float[Tensor, "*rows k"]
Uniforms: TypeAlias = Float64[Tensor, "*rows"]

_TINY = 1e-300


class Corruption(ABC):
    """Q(s, t) on K states. Tables are (rows, ..., K); times are floats or (B,) tensors."""

    @property
    @abstractmethod
    def steps(self) -> int | None:
        """T when Q is given at times i / T, else None."""

    def modules(self) -> Iterable[nn.Module]:
        """Those of its schedule, if that is learned."""
        return ()

    @abstractmethod
    def check(self, k: int) -> None:
        """Raise ConfigError unless this corruption acts on K states."""

    @abstractmethod
    def log_rows(self, x_s: Indices, s: Time, t: Time, k: int, layout: Layout) -> LogTable:
        """log q(x_t = . | x_s)."""

    def draw(self, x_s: Indices, s: Time, t: Time, u: Uniforms, k: int, layout: Layout) -> Indices:
        """x_t given x_s: where the distribution function of `log_rows` passes u in [0, 1)."""
        return inverse_cdf(self.log_rows(x_s, s, t, k, layout), u, layout)

    @abstractmethod
    def log_posterior(
        self, log_p0: LogTable, x_t: Indices, t: Time, s: Time, layout: Layout
    ) -> LogTable:
        """log of sum_i p0_i q(x_s = . | x_t, x_0 = i), the exact mixture, normalised."""

    @abstractmethod
    def log_joint(
        self, log_p0: LogTable, x_t: Indices, t: Time, s: Time, layout: Layout
    ) -> LogTable:
        """log of sum_i p0_i q(x_s = ., x_t | x_0 = i), normalised: the form of D3PM."""

    @abstractmethod
    def log_prior(self, k: int) -> Float64[Tensor, " k"]:
        """log q(x_1)."""


class BayesCorruption(Corruption):
    """A corruption whose posteriors are put together from rows and columns of its matrices."""

    @abstractmethod
    def push(self, log_w: LogTable, s: Time, t: Time, layout: Layout) -> LogTable:
        """log of w Q(s, t)."""

    @abstractmethod
    def column(self, x_t: Indices, s: Time, t: Time, like: LogTable, layout: Layout) -> LogTable:
        """log q(x_t | x_s = .), in the shape and dtype of `like`."""

    def log_posterior(
        self, log_p0: LogTable, x_t: Indices, t: Time, s: Time, layout: Layout
    ) -> LogTable:
        # q(x_t | x_s) sum_i p0_i / q(x_t | x_0 = i) q(x_s | x_0 = i)
        evidence = self.column(x_t, 0.0, t, log_p0, layout)
        log_w = torch.where(evidence > -math.inf, log_p0 - evidence, -math.inf)
        return self.log_joint(log_w, x_t, t, s, layout)

    def log_joint(
        self, log_p0: LogTable, x_t: Indices, t: Time, s: Time, layout: Layout
    ) -> LogTable:
        clean = not isinstance(s, Tensor) and s == 0
        log_q = log_p0 if clean else self.push(log_p0, 0.0, s, layout)
        return (log_q + self.column(x_t, s, t, log_p0, layout)).log_softmax(-1)


@final
@dataclass(frozen=True)
class Uniform(BayesCorruption):
    """Q(s, t) = a I + (1 - a) / K, a = alpha_t / alpha_s: a token is resampled uniformly."""

    schedule: Schedule = field(default_factory=Linear)

    @property
    def steps(self) -> int | None:
        return self.schedule.steps

    def modules(self) -> Iterable[nn.Module]:
        return self.schedule.modules()

    def check(self, k: int) -> None:
        """Any K."""

    def log_rows(self, x_s: Indices, s: Time, t: Time, k: int, layout: Layout) -> LogTable:
        a = _survival(self.schedule, s, t, x_s.ndim, layout)
        table = torch.log((1 - a) / k)[..., None].expand(*x_s.shape, k).clone()
        stay = torch.log(a + (1 - a) / k).expand(x_s.shape)
        return table.scatter_(-1, x_s[..., None], stay[..., None])

    def draw(self, x_s: Indices, s: Time, t: Time, u: Uniforms, k: int, layout: Layout) -> Indices:
        a = _survival(self.schedule, s, t, x_s.ndim, layout)
        below = x_s * ((1 - a) / k)  # of the distribution function
        each = ((1 - a) / k).clamp(min=torch.finfo(torch.float64).tiny)
        left = torch.minimum((u / each).floor(), x_s - 1)
        right = torch.maximum(((u - a) / each).floor(), x_s + 1).clamp(max=k - 1)
        moved = torch.where(u < below, left, right).long()
        return torch.where((u >= below) & (u < below + a + (1 - a) / k), x_s, moved)

    def push(self, log_w: LogTable, s: Time, t: Time, layout: Layout) -> LogTable:
        a = _survival(self.schedule, s, t, log_w.ndim, layout)
        move = torch.log((1 - a) / log_w.shape[-1]).to(log_w.dtype)
        return torch.logaddexp(
            log_w + a.log().to(log_w.dtype), log_w.logsumexp(-1, keepdim=True) + move
        )

    def column(self, x_t: Indices, s: Time, t: Time, like: LogTable, layout: Layout) -> LogTable:
        # Q is symmetric
        return self.log_rows(x_t, s, t, like.shape[-1], layout).to(like.dtype)

    def log_prior(self, k: int) -> Float64[Tensor, " k"]:
        return torch.full((k,), -math.log(k), dtype=torch.float64)


@final
@dataclass(frozen=True)
class Absorbing(Corruption):
    """A token survives with probability alpha_t / alpha_s, else becomes `mask` for good.

    The prior is all masks, so the variational bound is finite only where alpha_1 is 0.
    """

    mask: int
    schedule: Schedule = field(default_factory=Linear)

    @property
    def steps(self) -> int | None:
        return self.schedule.steps

    def modules(self) -> Iterable[nn.Module]:
        return self.schedule.modules()

    def check(self, k: int) -> None:
        if not 0 <= self.mask < k:
            raise ConfigError(
                "the mask is a token of the vocabulary", value=self.mask, limit=f"0 to {k - 1}"
            )

    def hidden(self, t: float) -> float:
        """1 - alpha_t, the probability that a token is masked at time t."""
        return 1 - float(self.schedule.alpha(t))

    def time_hidden(self, hidden: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
        """The time in (0, 1] at which a token is masked with probability `hidden` in (0, 1]; the
        latest where that is reached late or never. On the steps i / T of a table, rounded up."""
        t, steps = self.schedule.time_at(1 - hidden), self.schedule.steps
        return t.clamp(min=_TINY) if steps is None else torch.ceil(t * steps - 1e-6) / steps

    def log_rows(self, x_s: Indices, s: Time, t: Time, k: int, layout: Layout) -> LogTable:
        a = _survival(self.schedule, s, t, x_s.ndim, layout).expand(x_s.shape)
        table = torch.full((*x_s.shape, k), -math.inf, dtype=torch.float64, device=x_s.device)
        table.scatter_(-1, x_s[..., None], a.log()[..., None])
        table[..., self.mask] = torch.where(x_s == self.mask, 0.0, torch.log1p(-a))
        return table

    def draw(self, x_s: Indices, s: Time, t: Time, u: Uniforms, k: int, layout: Layout) -> Indices:
        a = _survival(self.schedule, s, t, x_s.ndim, layout)
        stays = torch.where(x_s < self.mask, u < a, u >= 1 - a)
        return torch.where(stays, x_s, self.mask)

    def log_posterior(
        self, log_p0: LogTable, x_t: Indices, t: Time, s: Time, layout: Layout
    ) -> LogTable:
        # Behind a mask: unmasked within (s, t] with probability (a_s - a_t) / (1 - a_t), else still
        # hidden at s. A token that is seen at t was there at s.
        a_t = _survival(self.schedule, 0.0, t, x_t.ndim, layout)
        a_s = _survival(self.schedule, 0.0, s, x_t.ndim, layout)
        shown = torch.log((a_s - a_t) / (1 - a_t)).to(log_p0.dtype)
        hidden = ((1 - a_s) / (1 - a_t)).to(log_p0.dtype)
        table = log_p0 + shown[..., None]
        p_mask = log_p0[..., self.mask].exp().clamp(max=1.0)  # a mask in the data stays one
        log_mask = safe_log(p_mask + (1 - p_mask) * hidden)
        seen = x_t != self.mask
        table.masked_fill_(seen[..., None], -math.inf)
        here = log_mask.masked_fill(seen, 0.0)  # x_t is seen, with certainty, or it is the mask
        return table.scatter_(-1, x_t[..., None], here[..., None])

    def log_joint(
        self, log_p0: LogTable, x_t: Indices, t: Time, s: Time, layout: Layout
    ) -> LogTable:
        # q(mask | x_0) is 1 - alpha_t for every x_0 but the mask itself, where it is 1: without
        # masks in the data the two forms are one
        a_t = _survival(self.schedule, 0.0, t, log_p0.ndim, layout)
        log_w = log_p0 + torch.log1p(-a_t).to(log_p0.dtype)
        log_w[..., self.mask] = log_p0[..., self.mask]
        return self.log_posterior(log_w.log_softmax(-1), x_t, t, s, layout)

    def log_prior(self, k: int) -> Float64[Tensor, " k"]:
        return one_hot_log(torch.tensor(self.mask), torch.empty(k, dtype=torch.float64))


def safe_log(p: Tensor) -> Tensor:
    """log p with gradient 0, not NaN, where p is 0."""
    return torch.where(p > 0, p.clamp(min=torch.finfo(p.dtype).tiny).log(), -math.inf)


def _survival(schedule: Schedule, s: Time, t: Time, ndim: int, layout: Layout) -> Tensor:
    """alpha_t / alpha_s in float64, broadcast over `ndim` axes of rows."""
    a = torch.as_tensor(
        schedule.alpha(t) / schedule.alpha(s), dtype=torch.float64, device=layout.device
    )
    return layout.expand(a, a.new_empty((1,) * ndim))
