"""Samplers of the absorbing kernel that choose which tokens appear next.

A step reveals a number of tokens that is fixed beforehand, and an order says which: a random one is
the order-agnostic autoregressive model (Hoogeboom 2022, ARDM), that of confidence the decoding of
MaskGIT (Chang 2022) and LLaDA (Nie 2025).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import ClassVar, TypeAlias, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.distributions import Dirac
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.samplers.base import Sampler, Step, Steps, Times, intervals
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.reveal import absorbing, asked, counts, drawn, masked, per_row
from unnoise.spaces import State, Time, tensor

_CHUNK = 1 << 22  # entries of a table worked on at a time
_TINY = 1e-300


class Order(Enum):
    """Which hidden tokens appear first.

    CONFIDENCE: those whose drawn token has the highest log probability. MARGIN: the largest
    difference between the two highest probabilities. ENTROPY: the lowest entropy, in nats.
    """

    RANDOM = "random"
    LEFT_TO_RIGHT = "left-to-right"
    CONFIDENCE = "confidence"
    MARGIN = "margin"
    ENTROPY = "entropy"


_BLIND = (Order.RANDOM, Order.LEFT_TO_RIGHT)

Pick: TypeAlias = Callable[[int, Tensor], tuple[Tensor, Time]]
"""(step, hidden tokens of each sample) -> (how many stay hidden, the time given to the network)."""


@final
@dataclass(frozen=True)
class Confidence(Sampler):
    """The tokens that the network is surest of appear first.

    After the step to s there are n m_s / m_t tokens hidden, rounded, m = 1 - alpha: the mean of the
    process itself. Steps in which none appears cost no evaluation.

    Parameters
    ----------
    by : the order in which tokens appear.
    temperature : of the choice: Gumbel noise of this scale is added to the score, in its units. 0
        takes the highest scores; 1, with the log probabilities of CONFIDENCE, draws tokens without
        replacement in proportion to their probabilities.
    remask : the share of the run's own tokens that each step hides again, those of the lowest
        probability when they appeared (after Wang 2025, ReMDM); as many more are shown. Tokens that
        were there before, or were put in, stay.
    """

    by: Order = Order.CONFIDENCE
    temperature: float = 0.0
    remask: float = 0.0

    requires: ClassVar[type] = CategoricalKernel
    corruption: ClassVar[type] = Absorbing
    evaluations: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError("a temperature is not negative", value=self.temperature, limit=">= 0")
        if self.temperature > 0 and self.by in _BLIND:
            raise ConfigError(
                "a temperature needs an order by the network's law",
                value=self.by.value,
                fix="Order.CONFIDENCE, MARGIN or ENTROPY",
            )
        if not 0 <= self.remask < 1:
            raise ConfigError("remask is a share", value=self.remask, limit="0 <= remask < 1")

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def one_step(self) -> bool:
        return self.remask == 0

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        corruption, pairs = absorbing(run.kernel), list(intervals(grid))

        def plan(i: int, hidden: Tensor) -> tuple[Tensor, Time]:
            t, s = pairs[i]
            return hidden * corruption.hidden(s) / max(corruption.hidden(t), _TINY), t

        return (yield from _in_order(run, x, grid, self, plan))


@final
@dataclass(frozen=True)
class OrderAgnostic(Sampler):
    """Tokens appear in a random order, in as many groups as the grid has steps.

    Of the grid only the number of steps counts: the network is given the time at which the share of
    hidden tokens is expected.

    Parameters
    ----------
    cuts : how many tokens are visible at each evaluation, from 0 on, as `parallel_schedule` finds
        them: as many as there are steps. By default groups are of one size. Evaluations that would
        show nothing, because so many tokens are known already, are left out.
    """

    cuts: tuple[int, ...] = ()

    requires: ClassVar[type] = CategoricalKernel
    corruption: ClassVar[type] = Absorbing
    evaluations: ClassVar[int] = 0
    one_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        cuts = tuple(int(cut) for cut in self.cuts)
        if cuts and (cuts[0] != 0 or any(b <= a for a, b in pairwise(cuts))):
            raise ConfigError("cuts increase from 0", value=self.cuts)
        object.__setattr__(self, "cuts", cuts)

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        corruption, steps = absorbing(run.kernel), len(grid) - 1
        if self.cuts and len(self.cuts) != steps:
            raise InputError(
                "this order has as many steps as cuts", value=steps, fix=f"steps={len(self.cuts)}"
            )
        size = run.layout.sizes.double()

        def plan(i: int, hidden: Tensor) -> tuple[Tensor, Time]:
            t = corruption.time_hidden(torch.where(hidden > 0, hidden / size, 1.0))
            if i == steps - 1:
                return torch.zeros_like(hidden), t
            if self.cuts:
                return torch.minimum(hidden, (size - self.cuts[i + 1]).clamp(min=0)), t
            left = steps - i
            return torch.floor(hidden * (left - 1) / left), t

        random = Confidence(Order.RANDOM)
        return (yield from _in_order(run, x, grid, random, plan))


def parallel_schedule(losses: Float[Tensor, " tokens"], evaluations: int) -> list[int]:
    """The cuts of least loss when D tokens are shown in `evaluations` groups (Hoogeboom 2022).

    A group that begins when i tokens are visible costs losses[i] for each of its tokens. Dynamic
    programming, O(D^2 evaluations).

    Parameters
    ----------
    losses : (D,) E -log p of one more token when i = 0 .. D - 1 are visible, in any unit; see
        `unnoise.objectives.loss_curve`.
    evaluations : 1 to D.

    Returns
    -------
    The number of visible tokens at each evaluation: increasing, the first is 0.
    """
    cost = losses.detach().double().cpu()
    d = len(cost)
    if not bool(torch.isfinite(cost).all()):
        raise InputError("the losses are not finite", value=cost.tolist()[:5])
    if not 1 <= evaluations <= d:
        raise InputError("evaluations is out of range", value=evaluations, limit=f"1 to {d}")
    i, j = torch.arange(d + 1)[:, None], torch.arange(d + 1)[None, :]
    group = torch.cat([cost, cost.new_zeros(1)])[:, None] * (j - i)
    group = torch.where(j > i, group, torch.inf)  # [i, j]: a group from i to j
    best = torch.full((d + 1,), torch.inf, dtype=torch.float64)
    best[0] = 0  # of showing j tokens in as many groups as were allowed so far
    choices = []
    for _ in range(evaluations):
        best, choice = (best[:, None] + group).min(0)
        choices.append(choice)
    cuts, end = [], d
    for choice in reversed(choices):
        end = int(choice[end])
        cuts.append(end)
    return cuts[::-1]


def _in_order(run: Diffusion, x: State, grid: Times, rule: Confidence, plan: Pick) -> Steps:
    corruption, layout = absorbing(run.kernel), run.layout
    x = tensor(x)
    own = torch.zeros_like(x, dtype=torch.bool)  # shown by this run, with what log probability
    certainty = torch.zeros_like(x, dtype=torch.float64)
    expected = torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)
    for i, (_, s) in enumerate(intervals(grid)):
        hidden = masked(run, x)
        number = counts(hidden, layout).double()
        expected = torch.where(expected.round() == number, expected, number)
        expected, t = plan(i, expected)
        left = expected.round()
        again = torch.minimum((rule.remask * counts(own, layout)).round(), left)
        show = per_row(number + again - left, certainty, layout)
        choice = hidden & (show > 0)
        if rule.by in _BLIND:  # the network is asked about those that appear alone
            appear = choice & (layout.ranks(_scored(choice, _blind(rule, run))) < show)
            table = asked(run, x, t, appear)
            found = drawn(table, x, appear, run)
        else:
            table = asked(run, x, t, choice)
            first = rule.by is Order.CONFIDENCE  # its score is that of the token drawn
            found = drawn(table, x, choice, run) if first else x
            score = _scores(rule, table, found, choice, run)
            appear = choice & (layout.ranks(_scored(choice, score)) < show)
            table = table[appear[choice]]
            found = found if first else drawn(table, x, appear, run)
        place = layout.ranks(torch.where(own, certainty, torch.inf))
        back = own & (place < per_row(again, certainty, layout))
        x = torch.where(appear, found, x).masked_fill(back, corruption.mask)
        own = (own & ~back) | appear
        certainty = torch.where(appear, _log_probs(table, found, appear), certainty)
        sent = yield Step(s, x, Dirac(x, layout))
        if sent is not None:
            own = own & (x == tensor(sent))
            x = tensor(sent)


def _scored(choice: Tensor, score: Tensor) -> Tensor:
    """What `Layout.ranks` puts in order: the highest scores of the choice first."""
    return torch.where(choice, -score, torch.inf)


def _blind(rule: Confidence, run: Diffusion) -> Float64[Tensor, "*rows"]:
    """Scores that do not look at the network's law."""
    if rule.by is Order.RANDOM:
        return run.noise.uniform(run.layout)
    zeros = torch.zeros(run.layout.shape, dtype=torch.float64, device=run.layout.device)
    return -run.layout.ranks(zeros).double()


def _scores(
    rule: Confidence, table: Tensor, found: Tensor, where: Tensor, run: Diffusion
) -> Float64[Tensor, "*rows"]:
    """What is shown first is highest. `table` has a row for each token at `where`."""
    if rule.by is Order.CONFIDENCE:
        score = _log_probs(table, found, where)
    else:
        measure = margin if rule.by is Order.MARGIN else certainty_of
        zeros = torch.zeros(found.shape, dtype=torch.float64, device=found.device)
        score = zeros.masked_scatter(where, by_rows(measure, table))
    if rule.temperature > 0:
        score = score - rule.temperature * torch.log(-torch.log(run.noise.uniform(run.layout)))
    return score


def by_rows(measure: Callable[[Tensor], Tensor], table: Float[Tensor, "some k"]) -> Tensor:
    """(some,) a measure of log probabilities, in float64, of a bounded number of rows at a time."""
    pieces = torch.split(table, max(1, _CHUNK // table.shape[-1]))
    return torch.cat([measure(piece.double()) for piece in pieces])


def margin(log_probs: Tensor) -> Tensor:
    """The difference of the two highest probabilities of each row."""
    if log_probs.shape[-1] < 2:
        return log_probs.new_ones(len(log_probs))
    top = log_probs.topk(2, -1).values.exp()
    return top[:, 0] - top[:, 1]


def certainty_of(log_probs: Tensor) -> Tensor:
    """Minus the entropy of each row, nats."""
    entropy: Tensor = torch.special.entr(log_probs.exp()).sum(-1)
    return -entropy


def _log_probs(table: Tensor, x: Tensor, where: Tensor) -> Float64[Tensor, "*rows"]:
    """log p of the tokens `x` at `where`, a row of `table` for each, else 0."""
    zeros = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
    if len(table) == 0:
        return zeros
    return zeros.masked_scatter(where, table.gather(-1, x[where][:, None])[:, 0].double())
