"""Gaps whose length is said in words or characters.

A token adds a known number of words or characters, w_k. Of a gap of h hidden tokens that still
lacks R, one token, when it appears, has the law

    p(k) q(R - w_k)  for k with (h - 1) min w <= R - w_k <= (h - 1) max w,  else 0, normalised,

q the normal density of what h - 1 tokens add whose laws are like this one's. What is shown so can
be completed, and the last token makes the number exact; q keeps it from having to make up for the
others. Tokens appear one at a time.
"""

from __future__ import annotations

from typing import Final, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.errors import InputError
from unnoise.kernels import Absorbing, corruption_of
from unnoise.spaces import Layout, State, Time, tensor
from unnoise_text.by_token import ByToken
from unnoise_text.characters import Vocabulary

UNITS: Final = {"w": "words", "c": "characters"}
_SAMPLE: Final = (
    "it was in the first days of the new year that the people of the country came together and"
    " asked what had been done with the money they had given"
)


def weights_of(vocabulary: Vocabulary, vocab: int, unit: str) -> Tensor | None:
    """(vocab,) int64, what each token adds; -1 for tokens that such a gap may not hold. None where
    words cannot be counted by tokens."""
    texts = vocabulary.pieces()
    if unit == "c":
        found = [vocabulary.characters([i]) if t is None else len(t) for i, t in enumerate(texts)]
    elif vocabulary.spaced(vocab) is None:
        return None
    else:  # one space at most, and that in front of something
        plain = [t is not None and t != "" and not any(map(str.isspace, t[1:])) for t in texts]
        plain = [p and t not in ("", " ", "\n", "\t") for p, t in zip(plain, texts, strict=True)]
        found = [int(str(t)[0].isspace()) if p else -1 for p, t in zip(plain, texts, strict=True)]
    weights = torch.full((vocab,), -1, dtype=torch.int64)
    weights[: len(found)] = torch.tensor(found)
    weights[list(vocabulary.unsayable(vocab))] = -1
    return weights


def tokens_for(vocabulary: Vocabulary, given: str, amount: int, unit: str) -> int:
    """How many tokens so many words or characters usually are, by what is given and a sentence."""
    number, tokens = 0, 0
    for text in (given, _SAMPLE):
        try:
            size = len(vocabulary.read(text).tokens)
        except InputError:
            continue
        tokens += size
        number += len(text.split()) if unit == "w" else len(text)
    share = tokens / number if number and tokens else 1.3 if unit == "w" else 0.25
    return max(1, round(amount * share))


@final
class Measured(ByToken):
    """p(x_0 | x_t, lengths of gaps).

    condition["gap"] (B, L) numbers the measured gaps of a text from 1, 0 elsewhere;
    condition["amount"] (B, L) is what each has in all, condition["unit"] the row of its weights.

    Parameters
    ----------
    denoiser : of the absorbing kernel; told the rest of the condition.
    weights : (units, K) int64, as `weights_of` has them.
    """

    weights: Tensor

    def __init__(self, denoiser: Denoiser, weights: Tensor) -> None:
        super().__init__()
        corruption = corruption_of(denoiser.kernel)
        assert isinstance(corruption, Absorbing)  # the domain has seen to it
        self.denoiser, self.kernel, self.mask = denoiser, denoiser.kernel, corruption.mask
        self.register_buffer("weights", weights)

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    def at(
        self,
        x_t: State,
        t: Time,
        layout: Layout,
        where: Bool[Tensor, "*rows"],
        condition: Condition = None,
    ) -> Float[Tensor, "some k"]:
        told = dict(condition or {})
        gap, amount, unit = (told.pop(n, None) for n in ("gap", "amount", "unit"))
        table = self.denoiser.at(x_t, t, layout, where, told or None)
        if gap is None or amount is None or unit is None:
            return table
        x, table = tensor(x_t), table.clone()
        for row, (b, i) in enumerate(where.nonzero().tolist()):
            if gap[b, i] > 0 and x[b, i] == self.mask:
                own = gap[b] == gap[b, i]
                hidden = own & (x[b] == self.mask)
                weights = self.weights[unit[b, i]]
                left = int(amount[b, i]) - int(weights[x[b][own & ~hidden]].sum())
                table[row] = measured(table[row], weights, left, int(hidden.sum()))
        return table


def measured(
    log_probs: Float[Tensor, " k"], weights: Tensor, left: int, hidden: int
) -> Float[Tensor, " k"]:
    """The law of one of `hidden` tokens that add `left` in all."""
    may = (weights >= 0) & (log_probs > -torch.inf)
    rest = left - weights
    beyond = _beyond(rest, weights[may], hidden - 1)
    if not bool((may & (beyond == 0)).any()):  # a token that the law rules out must do
        may, log_probs = weights >= 0, torch.zeros_like(log_probs)
        beyond = _beyond(rest, weights[may], hidden - 1)
    fits = may & (beyond == beyond[may].min())
    own = log_probs.double().masked_fill(~may, -torch.inf).log_softmax(-1)
    if hidden > 1:
        p, w = own.exp(), weights.double()
        mean = (p * w).sum()
        spread = (p * (w - mean) ** 2).sum().clamp(min=0.05) * (hidden - 1)
        own = own - (rest - (hidden - 1) * mean) ** 2 / (2 * spread)
    return own.masked_fill(~fits, -torch.inf).log_softmax(-1).to(log_probs.dtype)


def _beyond(rest: Tensor, weights: Tensor, others: int) -> Tensor:
    """How far what is left lies from what `others` tokens of these weights can add."""
    low, high = others * int(weights.min()), others * int(weights.max())
    return (low - rest).clamp(min=0) + (rest - high).clamp(min=0)
