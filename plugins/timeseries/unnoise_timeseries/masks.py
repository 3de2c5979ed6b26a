"""Which observed cells of a training window are hidden: the targets (Tashiro 2021).

Every function takes what is observed, bool (rows, columns), and returns the targets, a part of it
with at least one cell. They draw from torch's global generator, which the trainer seeds for each
item.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from unnoise.errors import InputError

Strategy: TypeAlias = Literal["random", "historical", "mix", "block", "forecasting", "any"]
Mask: TypeAlias = Bool[Tensor, "rows columns"]


def random(observed: Mask) -> Mask:
    """A share r ~ U(0, 1) of the observed cells, drawn without replacement."""
    _some(observed)
    count = round(float(torch.rand(())) * int(observed.sum()))
    return share(observed, max(count, 1))


def share(observed: Mask, count: int) -> Mask:
    """`count` of the observed cells, every set of them being as likely."""
    cells = observed.flatten().nonzero().flatten()
    target = torch.zeros(observed.numel(), dtype=torch.bool)
    target[cells[torch.randperm(len(cells))[:count]]] = True
    return target.view(observed.shape)


def historical(observed: Mask, other: Mask) -> Mask:
    """The cells that are observed here and missing in another window; random where there are none.

    `other` is any other window of the data: `another` draws one.
    """
    target = observed & ~other
    return target if bool(target.any()) else random(observed)


def another(index: int, count: int) -> int:
    """The number of another of `count` windows, all others being as likely."""
    if count < 2:
        return index
    drawn = int(torch.randint(count - 1, ()))
    return drawn + (drawn >= index)


def mix(observed: Mask, other: Mask) -> Mask:
    """random or historical, as a coin falls."""
    return random(observed) if float(torch.rand(())) < 0.5 else historical(observed, other)


def block(observed: Mask) -> Mask:
    """All observed cells of a run of rows, 1 to the whole window, in each column with probability
    1/2 (one at least)."""
    _some(observed)
    rows, columns = observed.shape
    for _ in range(20):  # a run may fall into what is missing anyway
        length = int(torch.randint(1, rows + 1, ()))
        start = int(torch.randint(rows - length + 1, ()))
        chosen = torch.rand(columns) < 0.5
        chosen[torch.randint(columns, ())] = True
        hidden = torch.zeros_like(observed)
        hidden[start : start + length] = chosen
        target = observed & hidden
        if bool(target.any()):
            return target
    return random(observed)


def forecasting(observed: Mask, horizon: int) -> Mask:
    """All observed cells of the last `horizon` rows; random where there are none."""
    target = observed.clone()
    target[: len(observed) - horizon] = False
    return target if bool(target.any()) else random(observed)


def targets(strategy: Strategy, observed: Mask, other: Mask, horizon: int) -> Mask:
    """The targets of one window by the name of the strategy; `any` is random, historical or block,
    as a die falls."""
    if strategy == "random":
        return random(observed)
    if strategy == "historical":
        return historical(observed, other)
    if strategy == "mix":
        return mix(observed, other)
    if strategy == "block":
        return block(observed)
    if strategy == "any":
        drawn = ("random", "historical", "block")[int(torch.randint(3, ()))]
        return targets(drawn, observed, other, horizon)
    return forecasting(observed, horizon)


def _some(observed: Mask) -> None:
    if not bool(observed.any()):
        raise InputError("a window without any observed cell has no targets")
