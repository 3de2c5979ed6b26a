"""Rows of tokens that an automaton accepts, exactly.

    g(x_0) = 1 where the automaton ends in a final state after x_0^1 .. x_0^L, else 0

A denoiser's law of x_0 is a product over places, so that what it thinks of g is a sum over paths of
a hidden Markov chain, in closed form: with a_0 the start and T_v the move by token v,

    E g(x_0) = a_0 (sum_v p_1(v) T_v) ... (sum_v p_L(v) T_v) f

Of absorbing noise the step to x_s shows some tokens and hides the others, a hidden one moving by
sum_v p_i(v) T_v. So the step times the expectation of g at x_s is such a chain too: it is drawn
from place by place, weighed by what the places after it can still do. No particle is lost on the
way, and no row that is not accepted is ever drawn; weights make up for what the network changes
its mind about when it sees what was shown.

Tokens that move every state alike are one class: cost follows states x classes, not the vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unnoise.conditioning.potentials import Potential, Proposal
from unnoise.distributions import Categorical, Distribution, inverse_cdf
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, tensor

NOWHERE: Final = -1
_LEAST: Final = 1e-300


@final
@dataclass(frozen=True, eq=False)
class Language(Potential):
    """The rows of tokens that a deterministic automaton accepts.

    Attributes
    ----------
    moves : (states, classes) the state that a token of a class leads to, `NOWHERE` where none.
    kind : (tokens,) the class of each token.
    final : (states,) where a row may end.
    start : where it begins.
    hidden : the token that stands for one that is not known yet, of absorbing noise.
    where : (B, L) the places that the automaton reads; all that are no padding by default.

    Raises
    ------
    InputError : no state is final, or numbers are out of range.
    """

    moves: Int64[Tensor, "states classes"]
    kind: Int64[Tensor, " tokens"]
    final: Bool[Tensor, " states"]
    start: int = 0
    hidden: int | None = None
    where: Bool[Tensor, "batch length"] | None = None

    def __post_init__(self) -> None:
        states, classes = self.moves.shape
        if not 0 <= self.start < states or len(self.final) != states:
            raise InputError("the automaton has other states", value=self.start, limit=states)
        for what, found, least, limit in (
            ("a move", self.moves, NOWHERE, states),
            ("a class", self.kind, 0, classes),
        ):
            if found.numel() and not (least <= int(found.min()) and int(found.max()) < limit):
                raise InputError(f"{what} leads nowhere", value=int(found.max()), limit=limit - 1)
        if not bool(self.final.any()):
            raise InputError("an automaton that accepts nothing", value="no final state")

    def __repr__(self) -> str:
        """Short enough for a record."""
        found = hashlib.sha256()
        for part in (self.moves, self.kind, self.final):
            found.update(part.numpy().tobytes())
        states, classes = self.moves.shape
        return f"Language({states} states, {classes} classes, sha256 {found.hexdigest()[:16]})"

    @staticmethod
    def from_edges(
        edges: Iterable[tuple[int, int, int]] | Int64[Tensor, "edges 3"],
        final: Iterable[int],
        tokens: int,
        start: int = 0,
        hidden: int | None = None,
    ) -> Language:
        """From edges (state, token, state), states being any whole numbers; one edge at most for
        each state and token."""
        rows = edges if isinstance(edges, Tensor) else torch.tensor(list(edges), dtype=torch.int64)
        found, ends = rows.view(-1, 3).numpy(), np.array(sorted(set(final)), dtype=np.int64)
        wrong = found[(found[:, 1] < 0) | (found[:, 1] >= tokens), 1]
        if len(wrong):
            raise InputError("an edge by a token out of range", value=wrong[0], limit=tokens - 1)
        names = np.unique(np.concatenate([found[:, 0], found[:, 2], ends, [start]]))
        before, after = (np.searchsorted(names, found[:, k]) for k in (0, 2))
        table = np.full((tokens, len(names)), NOWHERE)
        table[found[:, 1], before] = after
        if (table != NOWHERE).sum() < len(found):
            raise InputError("two edges by one token from one state", value=len(found))
        columns, kind = np.unique(table, axis=0, return_inverse=True)
        return Language(
            torch.from_numpy(columns.T.copy()),
            torch.from_numpy(kind.reshape(-1)),
            torch.from_numpy(np.isin(names, ends)),
            int(np.searchsorted(names, start)),
            hidden,
        )

    def lengths(self, longest: int) -> Bool[Tensor, " lengths"]:
        """(longest + 1,) True where rows of so many tokens are accepted."""
        states = len(self.final)
        there = self.moves[self.moves >= 0]
        start = (torch.arange(states)[:, None].expand_as(self.moves))[self.moves >= 0]
        at = torch.zeros(states, dtype=torch.bool)
        at[self.start] = True
        found = [bool(self.final[self.start])]
        for _ in range(longest):
            after = torch.zeros_like(at)
            after[there[at[start]]] = True
            at = after
            found.append(bool((at & self.final).any()))
        return torch.tensor(found)

    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        kinds, reads = self.kind[tensor(x0).cpu()], self.reads(layout)
        at = torch.full((layout.batch,), self.start)
        moves = torch.cat([self.moves, self.moves.new_full((1, self.moves.shape[1]), NOWHERE)])
        for i in range(kinds.shape[1]):
            at = torch.where(reads[:, i], moves[at, kinds[:, i]], at)
        accepted = torch.cat([self.final, torch.tensor([False])])[at]
        return torch.where(accepted, 0.0, -math.inf).double()

    def expected(self, law: Distribution, layout: Layout) -> Float[Tensor, " batch"] | None:
        if not isinstance(law, Categorical):
            return super().expected(law, layout)
        return self.total(self.weights(law.log_probs.exp()), self.reads(layout))

    def proposal(self, step: Distribution, law: Distribution, layout: Layout) -> Proposal | None:
        if not isinstance(step, Categorical) or not isinstance(law, Categorical):
            return super().proposal(step, law, layout)
        return _Spelled(self, step, law, layout)

    def of(self, samples: Int64[Tensor, " some"]) -> Potential:
        return self if self.where is None else replace(self, where=self.where[samples])

    def reads(self, layout: Layout) -> Bool[Tensor, "batch length"]:
        """The places that the automaton reads."""
        if len(layout.shape) != 2 or layout.index is not None:
            raise InputError("a language is of rows (B, L)", value=layout.shape)
        reads = torch.ones(layout.shape, dtype=torch.bool)
        if self.where is not None:
            reads = reads & self.where
        return reads if layout.mask is None else reads & layout.mask.cpu()

    def total(
        self, weights: Float[Tensor, "batch length classes"], reads: Bool[Tensor, "batch length"]
    ) -> Float[Tensor, " batch"]:
        """(B,) the logarithm of the sum over all rows that are accepted, of the product of the
        weights of their classes at the places that are read."""
        at = self.begin(len(weights))
        total = torch.zeros(len(weights), dtype=torch.float64)
        for i in range(weights.shape[1]):
            moved, lost = self.forward(at, weights[:, i])
            at = torch.where(reads[:, i, None], moved, at)
            total = total + torch.where(reads[:, i], lost, 0.0)
        return total + (at * self.final).sum(1).log()

    def begin(self, batch: int) -> Float[Tensor, "batch states"]:
        """All at the start."""
        at = torch.zeros(batch, len(self.final), dtype=torch.float64)
        at[:, self.start] = 1
        return at

    def weights(self, table: Float[Tensor, "*rows k"]) -> Float[Tensor, "*rows classes"]:
        """Sums over the tokens of each class."""
        flat = table.reshape(-1, table.shape[-1]).cpu().T
        found = flat.new_zeros(self.moves.shape[1], flat.shape[1])
        found.index_add_(0, self.kind[: len(flat)], flat)
        return found.T.double().view(*table.shape[:-1], self.moves.shape[1])

    def forward(self, at: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) states after one place with weights (B, C) of its classes, brought to sum 1, and
        the logarithm (B,) of their sum."""
        before, kinds, after = self._edges
        flow = at.T[before] * weights.T[kinds]
        moved = at.new_zeros(at.shape[1], len(at)).index_add_(0, after, flow).T
        total = moved.sum(1, keepdim=True)
        return moved / total.clamp(min=_LEAST), total[:, 0].log()

    def backward(self, ahead: Tensor, weights: Tensor) -> Tensor:
        """(B, S) what can still be accepted from each state before a place, up to a factor, from
        what can be after it."""
        before, kinds, after = self._edges
        flow = ahead.T[after] * weights.T[kinds]
        found = ahead.new_zeros(ahead.shape[1], len(ahead)).index_add_(0, before, flow).T
        return found / found.amax(1, keepdim=True).clamp(min=_LEAST)

    def scores(self, at: Tensor, ahead: Tensor) -> Float[Tensor, "batch classes"]:
        """What can still be accepted after a token of each class, from states `at`."""
        before, kinds, after = self._edges
        flow = at.T[before] * ahead.T[after]
        return at.new_zeros(self.moves.shape[1], len(at)).index_add_(0, kinds, flow).T

    @cached_property
    def _edges(self) -> tuple[Tensor, Tensor, Tensor]:
        """States, classes, and the states that they lead to."""
        before, kinds = torch.nonzero(self.moves >= 0, as_tuple=True)
        return before, kinds, self.moves[before, kinds]


@final
class _Spelled(Proposal):
    """r(x_s) ~ p(x_s | x_t) E[g(x_0) | x_s], the expectation by the law of x_0 given x_t."""

    def __init__(
        self, language: Language, step: Categorical, law: Categorical, layout: Layout
    ) -> None:
        self.language, self.step, self.layout = language, step, layout
        self.reads = language.reads(layout)
        self.shown = step.log_probs.exp()
        self.hidden = torch.zeros(self.shown.shape[:2], dtype=torch.float64)
        if language.hidden is not None:
            self.hidden = self.shown[..., language.hidden].double().cpu()
            self.shown = self.shown.clone()
            self.shown[..., language.hidden] = 0
        elif bool((law.log_probs.exp() - self.shown).abs().amax() > 1e-6):
            raise ConfigError(
                "a language needs to know which token hides others",
                value="hidden=None",
                fix="use absorbing noise and pass its token, or the last step alone",
            )
        self.guess = language.weights(law.log_probs.exp())
        self.every = language.weights(self.shown) + self.hidden[..., None] * self.guess

    def sample(self, noise: NoiseSource) -> State:
        language, length = self.language, self.shown.shape[1]
        ahead = [language.final.double().expand(len(self.reads), -1)]
        for i in reversed(range(length)):
            before = language.backward(ahead[-1], self.every[:, i])
            ahead.append(torch.where(self.reads[:, i, None], before, ahead[-1]))
        ahead.reverse()  # [i] is before place i
        u = noise.uniform(self.layout).cpu()
        at = language.begin(len(self.reads))
        places = []
        for i in range(length):
            score = language.scores(at, ahead[i + 1])
            score = torch.where(self.reads[:, i, None], score, 1.0)
            table = self.shown[:, i].cpu().double() * score[:, language.kind[: self.shown.shape[2]]]
            if language.hidden is not None:
                table[:, language.hidden] = self.hidden[:, i] * (self.guess[:, i] * score).sum(1)
            x = inverse_cdf((table / table.sum(1, keepdim=True)).log(), u[:, i])
            moved, _ = language.forward(at, self._moves(x, i))
            at = torch.where(self.reads[:, i, None], moved, at)
            places.append(x)
        return self.layout.zero_padding(torch.stack(places, 1).to(self.layout.device))

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        language, values = self.language, tensor(x).cpu()
        own = torch.stack([self._moves(one, i) for i, one in enumerate(values.unbind(1))], 1)
        of_x, of_all = (language.total(weights, self.reads) for weights in (own, self.every))
        return self.step.log_prob(x).double().cpu() + of_x - of_all

    def _moves(self, x: Tensor, place: int) -> Tensor:
        """(B, C) weights of the classes at a place that shows x, or hides what it will be."""
        one = torch.nn.functional.one_hot(self.language.kind[x], self.language.moves.shape[1])
        hidden = x == (NOWHERE if self.language.hidden is None else self.language.hidden)
        return torch.where(hidden[:, None], self.guess[:, place], one.double())
