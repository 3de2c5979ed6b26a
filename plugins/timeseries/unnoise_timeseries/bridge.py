"""What the neighbours in time say of a hidden cell: the conditional law of an AR(1), per column.

For a standardised AR(1) with correlation phi from row to row, whose last given value l lies a rows
before and whose next given value r lies b rows after,

    m   = (phi^a (1 - phi^2b) l + phi^b (1 - phi^2a) r) / (1 - phi^2(a+b))
    s^2 = (1 - phi^2a) (1 - phi^2b) / (1 - phi^2(a+b)),

with phi^a = 0 where nothing is given before, and phi^b = 0 where nothing is given after. Near
phi = 1 this is linear interpolation with the spread of a Brownian bridge; at phi = 0, or with
nothing given in the column, it is N(0, 1).

With `prior="bridge"` the diffusion draws u = (x - m) / s in place of x: of unit scale in every
cell, however close its neighbours are, so that a chain made for data of unit scale fits all of
them. What the AR(1) gets wrong, and what the other columns know, is left to the network. To take
mean and spread of the prior from the condition is the idea of PriorGrad (Lee 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

CLOSEST = 0.9999
"""The largest correlation: a spread of 0.01 between two neighbours."""


def bridge(
    observed: Float[Tensor, "*batch l k"],
    given: Bool[Tensor, "*batch l k"],
    memory: Float[Tensor, " k"],
) -> tuple[Float[Tensor, "*batch l k"], Float[Tensor, "*batch l k"]]:
    """(m, s) of every cell; (the value, 0) where it is given.

    `observed` holds standardised values where `given`; `memory` is phi of each column.
    """
    before, a = _neighbour(observed, given)
    after, b = (found.flip(-2) for found in _neighbour(observed.flip(-2), given.flip(-2)))
    phi = memory.to(observed.dtype)
    left, right = phi**a, phi**b  # phi^infinity = 0 where there is none
    whole = 1 - left.square() * right.square()
    safe = torch.where(given, torch.ones_like(whole), whole)
    m = (left * (1 - right.square()) * before + right * (1 - left.square()) * after) / safe
    variance = (1 - left.square()) * (1 - right.square()) / safe
    zero = torch.zeros_like(m)
    return torch.where(given, observed, m), torch.where(given, zero, variance.sqrt())


def memory_of(parts: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> tuple[float, ...]:
    """phi of each column of standardised series: its correlation with the row before, where both
    are observed, between 0 and `CLOSEST`."""
    product = sum(np.nansum(part[1:] * part[:-1], axis=0) for part in parts)
    pairs = [np.isfinite(part[1:]) & np.isfinite(part[:-1]) for part in parts]
    squares = sum(
        np.nansum(np.where(both, part[1:] ** 2 + part[:-1] ** 2, 0.0), axis=0) / 2
        for part, both in zip(parts, pairs, strict=True)
    )
    phi = np.asarray(product) / np.maximum(np.asarray(squares), 1e-12)
    return tuple(np.clip(phi, 0.0, CLOSEST).tolist())


def reach_of(
    parts: Sequence[np.ndarray[Any, np.dtype[np.float64]]], memory: Sequence[float]
) -> float:
    """The largest |x - m| / s of a cell between two given neighbours; at least 3."""
    phi = np.asarray(memory)
    weight, spread = phi / (1 + phi**2), np.sqrt((1 - phi**2) / (1 + phi**2))
    found = 3.0
    for part in parts:
        u = (part[1:-1] - weight * (part[:-2] + part[2:])) / spread
        found = max(found, float(np.nanmax(np.abs(u), initial=0.0)))
    return found


def _neighbour(observed: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """(value, rows back) of the last given cell at or before each cell; (0, infinity) for none."""
    rows = torch.arange(given.shape[-2], device=given.device)[:, None].expand_as(given)
    last = torch.where(given, rows, torch.full_like(rows, -1)).cummax(-2).values
    value = observed.gather(-2, last.clamp(min=0))
    none = last < 0
    back = (rows - last).to(observed.dtype).masked_fill(none, torch.inf)
    return value.masked_fill(none, 0.0), back
