"""Truths and draws of what a model is conditioned on, for `unnoise.calibration`.

A held-out item is a state and a condition (what is given of a series, a class, a prompt), and its
layout says which entries are asked for. The model draws these again, from the condition alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from unnoise.domain import Batch, Domain, Draw, Plan, Task, Trained
from unnoise.engine.run import generate_iter
from unnoise.errors import InputError
from unnoise.noise import NoiseSource

_LARGEST: Final = 2**27  # numbers of all draws, float64


class _Given(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    items: list[Any]


@final
class _Again(Domain):
    """Draws the states of data items from their conditions; a native object is (d,) numbers."""

    name = "calibrate"
    Request = _Given

    def __init__(self, collate: Callable[[Sequence[Any]], Batch]) -> None:
        self.collate = collate

    def prepare(self, request: Any, model: Trained, options: Any) -> Sequence[Any]:
        return list(request.items)

    def plan(self, inputs: Sequence[Any], model: Trained, draws: Sequence[Draw]) -> Plan:
        batch = self.collate([inputs[draw.input] for draw in draws])
        noise = NoiseSource(0, range(batch.layout.batch))  # the layout alone is used
        layout = model.codec.encode(batch.x0, batch.layout, batch.condition, noise).layout
        state = yield Task(layout, batch.condition)
        return list(_numbers(batch, model.decode(state, layout, batch.condition)))

    def write(self, sample: Any, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.npy"
        np.save(path, sample)
        return path


def again(
    model: Trained,
    collate: Callable[[Sequence[Any]], Batch],
    items: Sequence[Any],
    draws: int,
    options: Mapping[str, Any],
    report: Callable[[float], None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, d) the entries of items that are asked for, others zero, and (n, L, d) draws of them.

    Raises
    ------
    InputError : items that are no dense arrays of real numbers of one shape, or without a
        condition: there is nothing then that a draw could depend on.
    """
    if len(items) == 0:
        raise InputError("a calibration needs items")
    batches = [collate([item]) for item in items]
    if batches[0].condition is None:
        raise InputError("the model is given nothing of an item, and its draws are of all items")
    rows = [_numbers(batch, batch.x0)[0] for batch in batches]
    if sizes := sorted({len(row) for row in rows})[1:]:
        raise InputError("the items are not of one size", value=[len(rows[0]), *sizes][:5])
    truths = np.stack(rows)
    if truths.size * draws > _LARGEST:
        raise InputError(
            "so many draws of such items do not fit",
            value=truths.size * draws,
            limit=_LARGEST,
            fix="ask for fewer items or draws",
        )
    found: list[Any] = []
    for output in generate_iter(
        _Again(collate), model, items=list(items), num_samples=draws, **options
    ):
        found += output.samples
        report(len(found) / (len(items) * draws))
    return truths, np.stack(found).reshape(len(items), draws, -1)


def _numbers(batch: Batch, x: Any) -> NDArray[np.float64]:
    """(B, d) entries, zero where the layout leaves them out."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or len(x) != batch.layout.batch:
        raise InputError(
            "only dense arrays of real numbers are calibrated by command",
            value=type(x).__name__ if not isinstance(x, Tensor) else str(x.dtype),
            fix="rank others by a distance: unnoise.calibration.ranks_by",
        )
    kept = batch.layout.zero_padding(x.to(torch.float64))
    return kept.flatten(1).cpu().numpy()
