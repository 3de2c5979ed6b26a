"""Layout: everything about a batch that is not diffused, and the only broadcasting code.

A state is a tensor whose leading axis counts *rows*. Rows are samples (dense layouts, shape
(B, ...)) or parts of samples (ragged layouts, shape (R, ...) with `index` naming the sample of
each row, as in a torch-geometric batch). A product state is a dict of such tensors, and its layout
holds one layout per field. Between values per sample v (B,) and entries x (rows, ...) there are two
maps, each the transpose of the other, and every formula of the core is written with them:

    expand(v)[r, ...] = v[index[r]]                        sample -> rows
    sum(x)[b]         = sum over rows r of b, x[r, ...]    rows -> sample, without padding
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, overload

import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from torch import Tensor

from unnoise.errors import InputError

State: TypeAlias = Tensor | dict[str, Tensor]
"""A batch of states: a tensor, or for a product space a dict of tensors."""

Time: TypeAlias = float | Float64[Tensor, "*batch"]
"""A time in [0, 1], clean at 0: a float when the whole batch shares it, else a float64 (B,)."""


def tensor(x: State) -> Tensor:
    """`x`, or InputError when it is the dict of a product state."""
    if not isinstance(x, Tensor):
        raise InputError(
            "one tensor is needed here",
            value=type(x).__name__,
            fix="states in a dict belong to products: spaces, kernels and distributions",
        )
    return x


def parts(x: State, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """`x`, or InputError unless it is a product state (of exactly the parts `names`)."""
    if isinstance(x, Tensor) or (names is not None and set(x) != set(names)):
        raise InputError(
            "a product state is a dict with one tensor per part",
            value=type(x).__name__ if isinstance(x, Tensor) else sorted(x),
            limit=None if names is None else sorted(names),
        )
    return x


@dataclass(frozen=True, eq=False)
class Layout:
    """Batch size, shape, row -> sample index, padding mask, device and dtype of a batch.

    Attributes
    ----------
    batch : number of samples B.
    shape : shape of the state tensor, rows first; () for a product.
    index : (R,) int64, sorted, the sample of each row; None when rows are samples.
    mask : bool, True where the data is real; its axes are the leading axes of `shape`.
    fields : the layouts of a product's parts, by name.
    dtype, device : of the state tensor.
    """

    batch: int
    shape: tuple[int, ...] = ()
    index: Int64[Tensor, " rows"] | None = None
    mask: Bool[Tensor, "batch ..."] | None = None
    fields: Mapping[str, Layout] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")

    @staticmethod
    def dense(
        batch: int,
        event_shape: Sequence[int] = (),
        *,
        mask: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Layout:
        """Samples of one shape: states are (batch, *event_shape).

        `mask` (batch, L, ...) marks real entries of padded samples: True is real.
        """
        shape = (batch, *event_shape)
        if mask is not None:
            if mask.dtype != torch.bool or tuple(mask.shape) != shape[: mask.ndim] or not mask.ndim:
                raise InputError(
                    "a padding mask is boolean and has the leading axes of the state",
                    value=(mask.dtype, tuple(mask.shape)),
                    limit=f"torch.bool, {shape}",
                )
            if not mask.reshape(batch, -1).any(1).all():
                raise InputError("every sample needs an entry that is not padding")
            mask = mask.to(device)
        return Layout(batch, shape, mask=mask, dtype=dtype, device=torch.device(device))

    @staticmethod
    def ragged(
        counts: Sequence[int],
        event_shape: Sequence[int] = (),
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Layout:
        """Samples of `counts` rows, one after the other: states are (sum(counts), *event_shape)."""
        if any(n < 1 for n in counts):
            raise InputError("a sample needs at least one row", value=list(counts), limit=">= 1")
        rows = torch.tensor(list(counts), dtype=torch.int64)
        index = torch.repeat_interleave(torch.arange(len(counts)), rows)
        shape = (len(index), *event_shape)
        return Layout(
            len(counts), shape, index=index.to(device), dtype=dtype, device=torch.device(device)
        )

    @staticmethod
    def product(fields: Mapping[str, Layout]) -> Layout:
        """The layout of a dict of states that share their samples."""
        sizes = {name: layout.batch for name, layout in fields.items()}
        if len(set(sizes.values())) != 1:
            raise InputError("the parts of a product hold the same samples", value=sizes)
        device = next(iter(fields.values())).device
        return Layout(next(iter(sizes.values())), fields=dict(fields), device=device)

    def __getitem__(self, name: str) -> Layout:
        if name not in self.fields:
            raise InputError("no such part of a product", value=name, limit=sorted(self.fields))
        return self.fields[name]

    def to(self, device: torch.device | str) -> Layout:
        """The same layout on another device."""
        return replace(
            self,
            device=torch.device(device),
            index=None if self.index is None else self.index.to(device),
            mask=None if self.mask is None else self.mask.to(device),
            fields={name: layout.to(device) for name, layout in self.fields.items()},
        )

    @overload
    def expand(self, v: float, like: Tensor) -> float: ...
    @overload
    def expand(self, v: Tensor, like: Tensor) -> Tensor: ...
    @overload
    def expand(self, v: float | Tensor, like: Tensor) -> float | Tensor: ...
    def expand(
        self, v: float | Shaped[Tensor, "*batch"], like: Shaped[Tensor, "rows ..."]
    ) -> float | Shaped[Tensor, "..."]:
        """A per-sample value (B,) in the shape that broadcasts over `like` (rows, ...).

        A float, or a tensor without axes, serves every sample. Tensors take the dtype of `like`,
        so coefficients computed in float64 are cast last.
        """
        if not isinstance(v, Tensor):
            return v
        if v.ndim == 0:
            return v.to(like.dtype)
        rows = v if self.index is None else v[self.index]
        return rows.to(like.dtype).view(-1, *(1,) * (like.ndim - 1))

    def sum(self, v: Shaped[Tensor, "rows ..."]) -> Shaped[Tensor, " batch"]:
        """Sum all that belongs to one sample: (rows, ...) -> (B,). Padding is left out."""
        v = self.zero_padding(v)
        rows = v.reshape(v.shape[0], -1).sum(1)
        if self.index is None:
            return rows
        return rows.new_zeros(self.batch).index_add(0, self.index, rows)

    def mean_point(self, v: Float[Tensor, "rows ... d"]) -> Float[Tensor, "rows ... d"]:
        """Mean over the points of each sample, broadcast back over `v` (rows, ..., d).

        Points are rows in a ragged layout and the second axis in a dense one.
        """
        counts = self.points.to(v.dtype)
        if self.index is not None:
            total = v.new_zeros((self.batch, *v.shape[1:])).index_add(0, self.index, v)
            return (total / counts.view(-1, *(1,) * (v.ndim - 1)))[self.index]
        v = self.zero_padding(v)
        return v.sum(1, keepdim=True) / counts.view(-1, *(1,) * (v.ndim - 1))

    @property
    def points(self) -> Int64[Tensor, " batch"]:
        """(B,) int64, the number of points (rows, positions) of each sample."""
        if self.index is not None:
            return torch.bincount(self.index, minlength=self.batch)
        if self.mask is not None:
            return self.mask.reshape(self.batch, -1).sum(1)
        n = self.shape[1] if len(self.shape) > 1 else 1
        return torch.full((self.batch,), n, device=self.device)

    @property
    def sizes(self) -> Int64[Tensor, " batch"]:
        """(B,) int64, the number of scalars of each sample, padding excluded."""
        if self.index is not None:
            return self.points * math.prod(self.shape[1:])
        if self.mask is not None:
            return self.points * math.prod(self.shape[self.mask.ndim :])
        return torch.full((self.batch,), math.prod(self.shape[1:]), device=self.device)

    def ranks(self, v: Shaped[Tensor, "rows ..."]) -> Int64[Tensor, "rows ..."]:
        """The place 0, 1, .. of each entry (rows, ...) in increasing order of its own sample.

        Entries of +inf come last, with padding; ties keep their order.
        """
        if self.mask is not None:
            real = self.mask.view(*self.mask.shape, *(1,) * (v.ndim - self.mask.ndim))
            v = v.masked_fill(~real, math.inf)
        if self.index is None:
            order = v.reshape(v.shape[0], -1).argsort(dim=1, stable=True)
            return order.argsort(dim=1).view(v.shape)
        flat = v.flatten()
        sample = self.index.repeat_interleave(math.prod(v.shape[1:]))
        order = flat.argsort(stable=True)
        order = order[sample[order].argsort(stable=True)]
        counts = torch.bincount(sample, minlength=self.batch)
        place = torch.arange(len(flat), device=v.device) - (counts.cumsum(0) - counts)[sample]
        return torch.empty_like(place).scatter_(0, order, place).view(v.shape)

    def take(self, samples: Int64[Tensor, " taken"]) -> tuple[Layout, Int64[Tensor, " rows"]]:
        """The layout of some samples, in the order and as often as they are named, and the rows of
        a state that they own. Of a product, those of each part; see `chosen` and `pick`."""
        if self.fields:
            raise InputError("samples are taken from each part of a product", limit="one part")
        if self.index is None:
            shape = (len(samples), *self.shape[1:])
            mask = None if self.mask is None else self.mask[samples]
            return replace(self, batch=len(samples), shape=shape, mask=mask), samples
        points = self.points
        counts = points[samples]
        index = torch.arange(len(samples), device=self.device).repeat_interleave(counts)
        begin = (points.cumsum(0) - points)[samples] - (counts.cumsum(0) - counts)
        rows = torch.arange(len(index), device=self.device) + begin[index]
        shape = (len(rows), *self.shape[1:])
        return replace(self, batch=len(samples), shape=shape, index=index), rows

    def chosen(self, samples: Int64[Tensor, " taken"]) -> Layout:
        """The layout of some samples, as `take`; of products, too."""
        if not self.fields:
            return self.take(samples)[0]
        return Layout.product({name: part.chosen(samples) for name, part in self.fields.items()})

    def pick(self, x: State, samples: Int64[Tensor, " taken"]) -> State:
        """What belongs to some samples, in the order and as often as they are named: a state of
        the layout `chosen(samples)`."""
        if self.fields:
            state = parts(x, self.fields)
            return {n: tensor(part.pick(state[n], samples)) for n, part in self.fields.items()}
        return tensor(x)[self.take(samples)[1]]

    def sample(self, x: State, k: int) -> State:
        """What belongs to sample `k` alone, without its padding: an event of a dense layout, the
        rows (n, ...) of a ragged one, a dict of those for a product.

        Of padding along several axes, what lies within the last real entry of each is left.
        """
        if not 0 <= k < self.batch:
            raise InputError("no such sample", value=k, limit=f"0 to {self.batch - 1}")
        if self.fields:
            state = parts(x, self.fields)
            return {n: tensor(part.sample(state[n], k)) for n, part in self.fields.items()}
        x = tensor(x)
        if self.index is not None:
            return x[(self.index == k).to(x.device)]
        if self.mask is None or self.mask.ndim == 1:
            return x[k]
        real = self.mask[k].nonzero().amax(0) + 1
        return x[k][tuple(slice(int(n)) for n in real)]

    def zero_padding(self, x: Shaped[Tensor, "*state"]) -> Shaped[Tensor, "*state"]:
        """`x` with zeros where the layout says padding."""
        if self.mask is None:
            return x
        return x.masked_fill(
            ~self.mask.view(*self.mask.shape, *(1,) * (x.ndim - self.mask.ndim)), 0
        )
