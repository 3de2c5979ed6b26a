"""A codec to check, the data to check it on, and what the checks measure with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unnoise.codecs import Codec, Encoded
from unnoise.denoise import Condition
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Euclidean, Layout, State, tensor
from unnoise.testing.examples import random_state
from unnoise.testing.report import Skip


@final
@dataclass(frozen=True, eq=False)
class CodecCase:
    """A codec, and data to check it on: by default normal numbers of the layout."""

    codec: Codec
    given: Layout | None
    condition: Condition
    data: State | None
    space: DataSpace
    seed: int

    @property
    def layout(self) -> Layout:
        if self.given is not None:
            return self.given
        return Layout.dense(3, (4, 3), dtype=torch.float64)

    @property
    def x(self) -> State:
        if self.data is not None:
            return self.data
        if self.layout.fields:
            raise Skip("data of a product are not drawn here; pass data=")
        return random_state(self.space, self.layout, self.seed)

    def noise(self, seed: int = 0, samples: range | None = None) -> NoiseSource:
        return NoiseSource(self.seed + seed, samples or range(self.layout.batch))

    @torch.no_grad()
    def encoded(self, x: State | None = None, seed: int = 0) -> Encoded:
        given = self.x if x is None else x
        return self.codec.encode(given, self.layout, self.condition, self.noise(seed))


def basis_of(space: DataSpace, layout: Layout) -> Tensor:
    """(entries, directions): orthonormal directions in which data move, each of one sample."""
    size = math.prod(layout.shape)
    if isinstance(space, Euclidean):
        real = layout.zero_padding(torch.ones(layout.shape, dtype=torch.float64)).flatten()
        return torch.eye(size, dtype=torch.float64)[:, real > 0]
    unit = torch.eye(size, dtype=torch.float64).view(size, *layout.shape)
    projected = torch.stack([tensor(space.project(u, layout)).flatten() for u in unit], 1)
    owner, found = owners(layout), []
    for k in range(layout.batch):
        rows = owner == k
        values, vectors = torch.linalg.eigh(projected[rows][:, rows])
        whole = torch.zeros(size, int((values > 0.5).sum()), dtype=torch.float64)
        whole[rows] = vectors[:, values > 0.5]
        found.append(whole)
    return torch.cat(found, 1)


def owners(layout: Layout) -> Tensor:
    """The sample of each entry of a flattened state; -1 in the padding."""
    rows = torch.arange(layout.batch) if layout.index is None else layout.index
    whole = (rows + 1).view(-1, *(1,) * (len(layout.shape) - 1)).expand(layout.shape)
    return (layout.zero_padding(whole.contiguous()) - 1).flatten()


def tolerance(z: State) -> float:
    """Of arithmetic in the precision of the state."""
    return max(
        1000 * torch.finfo(v.dtype).eps if v.dtype.is_floating_point else 0.0 for v in tensors(z)
    )


def alike(a: Layout, b: Layout) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.batch == b.batch


def layouts_of(layout: Layout) -> list[Layout]:
    return list(layout.fields.values()) if layout.fields else [layout]


def tensors(x: State) -> list[Tensor]:
    return list(x.values()) if isinstance(x, dict) else [x]


def named_states(x: State, *layouts: Layout) -> list[tuple[str, Tensor, Layout, Layout]]:
    one, two = layouts
    if isinstance(x, dict):
        return [(f" {name!r}", value, one[name], two[name]) for name, value in x.items()]
    return [("", x, one, two)]


def clean(x: State, layout: Layout) -> State:
    if isinstance(x, dict):
        return {name: layout[name].zero_padding(value) for name, value in x.items()}
    return layout.zero_padding(x)


def distance(a: State, b: State) -> float:
    if isinstance(a, Mapping):
        assert isinstance(b, dict)
        return max(distance(a[name], b[name]) for name in a)
    return float((a.double() - tensor(b).double()).abs().max()) if a.numel() else 0.0
