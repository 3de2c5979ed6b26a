"""Samplers of the absorbing kernel in which the network's laws decide how many tokens appear.

Tokens that appear in one evaluation are drawn from prod_i p(x_i | visible) in place of the joint
p(x_U | visible). For any set U

    KL(joint || product) = sum_i H_i - H(x_U) <= sum_i H_i - max_i H_i        (nats)

because the entropy of the joint is that of any part of it at least. `EntropyBound` (Ben-Hamu 2025)
shows the surest tokens for which the right side stays within a bound: that is what an evaluation
may be wrong by. If each token of U has a value of probability 1 - e_i at least,

    TV(joint, product) <= sum_i e_i,

because both give all these values together 1 - sum e_i at least. `Threshold` (Wu 2025, Fast-dLLM)
shows the tokens with such a value. Both show the surest token in any case, by laws alone and not by
what is drawn, so that with bound 0, or threshold 1, a token at a time appears (but for those that
are certain) and the law is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.samplers.base import Sampler, Step, Steps, Times, intervals
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.order import by_rows, certainty_of
from unnoise.samplers.reveal import absorbing, asked, counts, drawn, masked
from unnoise.spaces import State, tensor


@final
@dataclass(frozen=True)
class EntropyBound(Sampler):
    """As many of the surest tokens at once as a bound on the error lets.

    Parameters
    ----------
    bound : nats of KL(joint || product) that one evaluation may cost at most: the sum of entropies
        less the largest. 0 is a token at a time.
    """

    bound: float = 0.3

    requires: ClassVar[type] = CategoricalKernel
    corruption: ClassVar[type] = Absorbing
    evaluations: ClassVar[int] = 0

    @property
    def stochastic(self) -> bool:
        return True

    def __post_init__(self) -> None:
        if not 0 <= self.bound < float("inf"):
            raise ConfigError("a bound is not negative", value=self.bound, limit=">= 0")

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        return (yield from _in_parallel(self, run, x, grid))

    def doubt(self, log_probs: Float[Tensor, "some k"]) -> Float64[Tensor, " some"]:
        """How unsure the law of each token is; the surest appear first."""
        return -certainty_of(log_probs)

    def sure(self, doubt: Float64[Tensor, "samples most"]) -> Bool[Tensor, "samples most"]:
        """Which tokens of each sample appear, the surest first; the first does in any case."""
        return torch.as_tensor(doubt.cumsum(-1) - doubt <= self.bound)


@final
@dataclass(frozen=True)
class Threshold(Sampler):
    """All tokens whose most probable value is at least so probable, and the surest one.

    Parameters
    ----------
    probability : in (0, 1]; 1 is a token at a time, beside those that are certain.
    """

    probability: float = 0.9

    requires: ClassVar[type] = CategoricalKernel
    corruption: ClassVar[type] = Absorbing
    evaluations: ClassVar[int] = 0

    @property
    def stochastic(self) -> bool:
        return True

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1:
            raise ConfigError("a probability", value=self.probability, limit="0 < probability <= 1")

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        return (yield from _in_parallel(self, run, x, grid))

    def doubt(self, log_probs: Float[Tensor, "some k"]) -> Float64[Tensor, " some"]:
        """How unsure the law of each token is; the surest appear first."""
        return -torch.expm1(log_probs.amax(-1))

    def sure(self, doubt: Float64[Tensor, "samples most"]) -> Bool[Tensor, "samples most"]:
        """Which tokens of each sample appear, the surest first; the first does in any case."""
        return doubt <= 1 - self.probability


def _in_parallel(rule: EntropyBound | Threshold, run: Diffusion, x: State, grid: Times) -> Steps:
    """The grid bounds the number of evaluations: its last step shows what is left. Steps in which
    nothing is left cost nothing. A network that hears the time hears the one at which the share of
    hidden tokens is expected."""
    corruption, layout = absorbing(run.kernel), run.layout
    x, last = tensor(x), float(grid[-1])
    for _, s in intervals(grid):
        hidden = masked(run, x)
        share = counts(hidden, layout) / layout.sizes.double()
        t = corruption.time_hidden(torch.where(share > 0, share, 1.0))
        table = asked(run, x, t, hidden)
        appear = hidden if s == last else _surest(rule, run, table, hidden)
        x = drawn(table[appear[hidden]], x, appear, run)
        sent = yield Step(s, x, Dirac(x, layout))
        x = x if sent is None else tensor(sent)


def _surest(
    rule: EntropyBound | Threshold,
    run: Diffusion,
    table: Float[Tensor, "some k"],
    hidden: Bool[Tensor, "*rows"],
) -> Bool[Tensor, "*rows"]:
    layout = run.layout
    if len(table) == 0:
        return hidden
    doubt = by_rows(rule.doubt, table)
    every = torch.full(hidden.shape, torch.inf, dtype=doubt.dtype, device=doubt.device)
    place = layout.ranks(every.masked_scatter(hidden, doubt))[hidden]
    sample = torch.arange(layout.batch, device=hidden.device)
    if layout.index is not None:
        sample = sample[layout.index]
    owner = sample.view(-1, *(1,) * (hidden.ndim - 1)).expand(hidden.shape)[hidden]
    # a row for each sample, the surest first: its sums depend on no other
    rows = doubt.new_full((layout.batch, int(place.max()) + 1), torch.inf)
    rows[owner, place] = doubt
    found = rule.sure(rows)
    found[:, 0] = True
    return torch.zeros_like(hidden).masked_scatter(hidden, found[owner, place])
