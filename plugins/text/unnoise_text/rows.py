"""Texts as they are written: what a window of one shows the network, as a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unnoise.domain import Task
from unnoise.samplers import Conditioning, Observation, Replacement, Reveal
from unnoise.spaces import Layout
from unnoise.windows import Segment
from unnoise_text.canvas import Canvas
from unnoise_text.sayable import GIVEN, LAST, SPACED, TEXT
from unnoise_text.units import UNITS


@final
@dataclass(frozen=True, eq=False)
class Row:
    """A text as it is written: (L,) tokens, True where they were given, the rule of each, and True
    where a window must not change them."""

    tokens: Tensor
    given: Tensor
    rule: Tensor
    known: Tensor

    @staticmethod
    def of(canvas: Canvas, ends: bool) -> Row:
        """A canvas; `ends` where the end of the text is a token of its own."""
        tokens, given = canvas.tensors()
        rule = torch.where(given, GIVEN, TEXT)
        last, start, stop = canvas.spans()[-1]
        if ends and last.text is None:
            rule[start:stop] = LAST
        for piece, start, _ in canvas.spans():
            if piece.spaced or piece.unit == "w":
                rule[start] += SPACED
        return Row(tokens, given, rule, given)

    def beyond(self, part: Segment, length: int) -> Segment:
        """A segment that reaches on to what is given after it, as far as the network sees: what is
        free of the window is shared by both sides, or all that comes after where the text fits."""
        room = length - (part.keep - part.fresh)
        reach = part.keep + room - min(part.fresh, room - room // 2)
        if len(self.tokens) <= length:
            reach = len(self.tokens)
        later = self.given[part.keep : reach].nonzero()
        if len(later) == 0:
            return part
        end = part.keep + int(later.max()) + 1
        start = max(0, end - length)
        return Segment(start, end - start, part.fresh, part.keep)

    def window(self, part: Segment, mask: int | None) -> Row:
        """What the network sees of it: what lies before the fresh tokens is known, and what lies
        after them is hidden, where it is not given."""
        own = torch.arange(part.start, part.end)
        later = (own >= part.keep) & ~self.given[own]
        known = self.given[own] | (own < part.fresh) | later
        tokens = self.tokens[own]
        if mask is not None:
            tokens = tokens.masked_fill(later, mask)
        rule = self.rule[own].masked_fill(known, GIVEN)
        return Row(tokens, self.given[own], rule, known)


def task_of(windows: Sequence[Row], absorbing: bool, guided: bool) -> Task:
    """The windows, padded to the longest, as one diffusion."""
    x = pad_sequence([w.tokens for w in windows], batch_first=True)
    known = pad_sequence([w.known for w in windows], batch_first=True)
    lengths = torch.tensor([len(w.tokens) for w in windows])
    real = torch.arange(x.shape[1]) < lengths[:, None]
    layout = Layout.dense(
        len(x), x.shape[1:], mask=None if bool(real.all()) else real, dtype=torch.int64
    )
    method: Conditioning = Reveal() if absorbing else Replacement()
    rule = pad_sequence([w.rule for w in windows], batch_first=True)
    condition = {"rule": rule}
    if guided:
        condition["given"] = pad_sequence([w.given for w in windows], batch_first=True)
    return Task(layout, condition, Observation(x, known, method))


def measuring(task: Task, canvases: Sequence[Canvas], size: int) -> Task:
    """`task`, told of gaps that are measured; of `size` steps, so that tokens appear one by one."""
    none = torch.zeros(len(canvases), size, dtype=torch.int64)
    told = {name: none.clone() for name in ("gap", "amount", "unit")}
    for b, one in enumerate(canvases):
        for number, (piece, start, stop) in enumerate(one.spans(), 1):
            if piece.unit:
                told["gap"][b, start:stop] = number
                told["amount"][b, start:stop] = piece.amount
                told["unit"][b, start:stop] = list(UNITS).index(piece.unit)
    return replace(task, condition={**(task.condition or {}), **told}, steps=size)
