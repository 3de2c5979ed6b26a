"""Molecules of similar size, padded to a common one, so that sums over pairs are products of
matrices."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.spaces import Layout


def rows_at(v: Tensor, rows: Tensor) -> Tensor:
    """v[rows], whose gradient is a sum and not a scatter with accumulation."""
    return v.index_select(0, rows)


@final
@dataclass(frozen=True, eq=False)
class Bucket:
    """Molecules of similar size, padded: `count` of them to `size` atoms.

    rows : their rows in the batch; slots : where each of them lies in (count, size).
    pairs : their pairs; cells : where (i, j) of all of them, then (j, i), lie in
        (count, size, size).
    """

    count: int
    size: int
    rows: Tensor
    slots: Tensor
    pairs: slice
    cells: Tensor

    def dense(self, v: Float[Tensor, "cells k"]) -> Float[Tensor, "k all"]:
        """A value for each of `cells` in all places (count, size, size), zero elsewhere."""
        places = v.new_zeros(self.count * self.size**2, v.shape[1])
        return places.index_copy_(0, self.cells, v).t().contiguous()

    def sums(
        self,
        w: Float[Tensor, "cells k"],
        turn: Float[Tensor, "3 all"],
        h: Float[Tensor, "rows heads c"],
    ) -> Float[Tensor, "own heads 4 c"]:
        """sum_j w_ij h_j, and sum_j w'_ij u_ij h_j, for weights w, w' of each head."""
        n, size = self.count, self.size
        heads, c = h.shape[1:]
        wide = h.new_zeros(n * size, heads, c).index_copy_(0, self.slots, rows_at(h, self.rows))
        wide = wide.view(n, size, heads, c).permute(2, 0, 1, 3).reshape(heads * n, size, c)
        flat, turned = self.dense(w).chunk(2)
        weights = [flat, *(turned * one for one in turn)]
        out = [torch.bmm(one.view(heads * n, size, size), wide) for one in weights]
        places = torch.stack(out).view(4, heads, n * size, c)
        return places.index_select(2, self.slots).permute(2, 1, 0, 3)


@final
@dataclass(frozen=True, eq=False)
class Pads:
    """The buckets of a batch; `back` takes their rows, one bucket after the other, to the batch."""

    buckets: list[Bucket]
    back: Tensor

    def parts(self, v: Tensor) -> list[tuple[Bucket, Tensor]]:
        """Each bucket with its part of a value per pair."""
        return [(bucket, v[bucket.pairs]) for bucket in self.buckets]


def padded(
    layout: Layout, index: Tensor, codes: Tensor, x: Tensor, radius: float, bucket: int
) -> tuple[Pads, Tensor, Tensor]:
    """The buckets of a batch, and its pairs within `radius` in their order."""
    assert layout.index is not None
    counts = layout.points
    starts = counts.cumsum(0) - counts
    order = counts.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    where = place[layout.index[index[0]]]
    near = ((x[index[0]] - x[index[1]]) ** 2).sum(-1) < radius**2
    keep = where.argsort(stable=True)
    keep = keep[near[keep]]
    index, codes, where = index[:, keep], codes[keep], where[keep]
    slot = torch.arange(len(layout.index), device=order.device) - starts[layout.index]
    row_place = place[layout.index]
    i, j = slot[index]
    edges = range(0, layout.batch, bucket)
    ends = [*torch.searchsorted(where, where.new_tensor(list(edges))).tolist(), len(where)]
    buckets = []
    for edge, pairs in zip(edges, itertools.starmap(slice, itertools.pairwise(ends)), strict=True):
        members = order[edge : edge + bucket]
        size = int(counts[members[-1]])
        rows = ((row_place >= edge) & (row_place < edge + bucket)).nonzero().flatten()
        at, a, b = (where[pairs] - edge) * size, i[pairs], j[pairs]
        cells = torch.cat([(at + a) * size + b, (at + b) * size + a])
        slots = (row_place[rows] - edge) * size + slot[rows]
        buckets.append(Bucket(len(members), size, rows, slots, pairs, cells))
    rows = torch.cat([bucket.rows for bucket in buckets])
    back = torch.empty_like(rows)
    back[rows] = torch.arange(len(rows), device=rows.device)
    return Pads(buckets, back), index, codes
