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

from unnoise.distributions import Categorical, Dirac, Distribution
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.samplers.base import Sampler, Step, Steps, Times, intervals
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.reveal import absorbing, counts, masked, per_row, predicted, shown
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
        if self.temperature > 0 and self.by in (Order.RANDOM, Order.LEFT_TO_RIGHT):
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
    law: Distribution = Dirac(x)
    own = torch.zeros_like(x, dtype=torch.bool)  # shown by this run, with what log probability
    certainty = torch.zeros_like(x, dtype=torch.float64)
    expected = torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)
    for i, (_, s) in enumerate(intervals(grid)):
        hidden = masked(corruption, x, layout)
        number = counts(hidden, layout).double()
        expected = torch.where(expected.round() == number, expected, number)
        expected, t = plan(i, expected)
        left = expected.round()
        again = torch.minimum((rule.remask * counts(own, layout)).round(), left)
        show = number + again - left
        changed = show > 0
        law = predicted(run, x, t, changed, law)
        choice = hidden & (per_row(show, certainty, layout) > 0)
        first = rule.by is Order.CONFIDENCE  # its score is that of the token drawn
        drawn = shown(law, x, choice, run) if first else x
        score = _scores(rule, law, drawn, choice, run)
        place = layout.ranks(torch.where(choice, -score, torch.inf))
        appear = choice & (place < per_row(show, certainty, layout))
        drawn = drawn if first else shown(law, x, appear, run)
        place = layout.ranks(torch.where(own, certainty, torch.inf))
        back = own & (place < per_row(again, certainty, layout))
        x = torch.where(appear, drawn, x).masked_fill(back, corruption.mask)
        own = (own & ~back) | appear
        certainty = torch.where(appear, _log_probs(law, drawn, appear), certainty)
        sent = yield Step(s, x, law)
        if sent is not None:
            own = own & (x == tensor(sent))
            x = tensor(sent)


def _scores(
    rule: Confidence,
    law: Distribution,
    drawn: Tensor,
    where: Tensor,
    run: Diffusion,
) -> Float64[Tensor, "*rows"]:
    """What is shown first is highest."""
    zeros = torch.zeros(drawn.shape, dtype=torch.float64, device=drawn.device)
    if rule.by is Order.RANDOM:
        return run.noise.uniform(run.layout)
    if rule.by is Order.LEFT_TO_RIGHT:
        return -run.layout.ranks(zeros).double()
    if rule.by is Order.CONFIDENCE:
        score = _log_probs(law, drawn, where)
    elif isinstance(law, Categorical):
        table = law.log_probs[where]
        pieces = torch.split(table, max(1, _CHUNK // table.shape[-1]))
        measure = _margin if rule.by is Order.MARGIN else _certainty
        score = zeros.masked_scatter(where, torch.cat([measure(p.double()) for p in pieces]))
    else:
        score = zeros
    if rule.temperature > 0:
        score = score - rule.temperature * torch.log(-torch.log(run.noise.uniform(run.layout)))
    return score


def _margin(log_probs: Tensor) -> Tensor:
    top = log_probs.topk(2, -1).values.exp()
    return top[:, 0] - top[:, 1]


def _certainty(log_probs: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(log_probs.exp()).sum(-1)
    return -entropy


def _log_probs(law: Distribution, x: Tensor, where: Tensor) -> Float64[Tensor, "*rows"]:
    """log p of the tokens `x` at `where`, else 0."""
    zeros = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
    if not isinstance(law, Categorical):
        return zeros
    found = law.log_probs[where].gather(-1, x[where][:, None])[:, 0]
    return zeros.masked_scatter(where, found.double())
