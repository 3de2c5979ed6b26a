"""Scaling, and which windows of a series belong to the training part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from unnoise.errors import InputError

Values = np.ndarray[Any, np.dtype[np.float64]]


def statistics(
    parts: Sequence[Values], columns: Sequence[str]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of what is observed in `parts`, (rows, columns) each; a spread of
    0 for columns that are constant.

    Raises InputError for a column without a single value.
    """
    values = np.concatenate(list(parts))
    for j, name in enumerate(columns):
        if not np.isfinite(values[:, j]).any():
            raise InputError(
                f"column {name!r} has no value in the training part: nothing can be learned of it",
                fix="leave the column out",
            )
    mean = np.nanmean(values, axis=0)
    scale = np.nanstd(values, axis=0)
    # rounding gives a constant column a spread of a few last bits
    flat = np.nanmax(values, axis=0) == np.nanmin(values, axis=0)
    return tuple(mean.tolist()), tuple(np.where(flat, 0.0, scale).tolist())


def cut(rows: int, held_out: float) -> int:
    """Rows of the training part: the last share `held_out` of a series is held out."""
    return rows - round(rows * held_out)


def window_starts(
    rows: int, length: int, held_out: float, part: Literal["train", "validation"], stride: int = 1
) -> range:
    """Where the windows of one part start; no window reaches over the border between the parts."""
    border = cut(rows, held_out)
    low, high = (0, border) if part == "train" else (border, rows)
    return range(low, high - length + 1, stride)


def check_leakage(train: Sequence[tuple[Any, Any]], test: Sequence[tuple[Any, Any]]) -> None:
    """Raise InputError unless every training row lies before every test row.

    Parameters
    ----------
    train, test : (first, last) time of each series or window.
    """
    last, first = max(end for _, end in train), min(begin for begin, _ in test)
    if not last < first:
        raise InputError(
            "training rows lie in or after the test part: the test would measure memory",
            value=f"training ends at {last}, the test begins at {first}",
            fix="split by time",
        )
