"""What may stand in a gap: tokens that are text, and the end of it where the model knows one."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Categorical
from unnoise.errors import ConfigError
from unnoise.spaces import Layout, State, Time
from unnoise_text.configuration import Configuration

GIVEN, TEXT, LAST = 0, 1, 2
"""Rules: a token that is given; one that is text; one that is text or the end of it."""
SPACED = 2
"""Added to the others: it begins with a space."""


def rules_of(configuration: Configuration) -> Tensor:
    """(rules, K), True where a token may not stand."""
    known, vocabulary = configuration.known, configuration.vocabulary
    forbidden = torch.zeros(5, known.vocab, dtype=torch.bool)
    forbidden[TEXT:, list(vocabulary.unsayable(known.vocab))] = True
    if (spaced := vocabulary.spaced(known.vocab)) is not None:
        forbidden[TEXT + SPACED :] |= ~spaced
    if known.end is not None:
        forbidden[[LAST, LAST + SPACED], known.end] = False
    return forbidden


@final
class Sayable(Denoiser):
    """p(x_0 | x_t, what is allowed): tokens that a rule forbids have no probability.

    condition["rule"] (B, L) has the number of each token's rule; without it nothing is forbidden.
    The denoiser is told the rest of the condition.

    Parameters
    ----------
    forbidden : (rules, K), True where a token may not stand.
    """

    forbidden: Tensor

    def __init__(self, denoiser: Denoiser, forbidden: Bool[Tensor, "rules k"]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.kernel = denoiser.kernel
        self.register_buffer("forbidden", forbidden)

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Categorical:
        law = self.denoiser(x_t, t, layout, _rest(condition))
        if not isinstance(law, Categorical):
            raise ConfigError("rules need a Categorical law", value=type(law).__name__)
        if not condition:
            return law
        return Categorical(self._ruled(law.log_probs, condition["rule"]), law.layout)

    def at(
        self,
        x_t: State,
        t: Time,
        layout: Layout,
        where: Bool[Tensor, "*rows"],
        condition: Condition = None,
    ) -> Float[Tensor, "some k"]:
        table = self.denoiser.at(x_t, t, layout, where, _rest(condition))
        return self._ruled(table, condition["rule"][where]) if condition else table

    def _ruled(self, table: Tensor, rule: Int64[Tensor, "*rows"]) -> Tensor:
        done = table.clone()
        rows = rule > GIVEN
        own = table[rows].masked_fill(self.forbidden[rule[rows]], -torch.inf)
        # where one token alone is left, that it was impossible does not matter
        done[rows] = own.log_softmax(-1)
        return done


def _rest(condition: Condition) -> Condition:
    return {n: v for n, v in (condition or {}).items() if n != "rule"} or None
