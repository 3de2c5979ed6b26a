"""Data spaces: where the data of a diffusion lives.

A space is a set of states with a projection onto it and a number of degrees of freedom:

    Euclidean     x in R^n                        P x = x                   dim = n
    ZeroCoM       x in R^(n x d), sum_i x_i = 0   P x = x - mean_i x_i      dim = d (n - 1)
    Tokens        x in {0 .. K - 1}^n             P x = x                   dim = n
    ProductSpace  x = (x^a, x^b, ...)             part by part              dim = sum of the parts'

A linear space has P P = P = P^T. Gaussian noise on it is P z, z ~ N(0, I), whose covariance is P,
and its density counts dim, not the number of entries: on ZeroCoM the common position of the points
is fixed and adds nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.spaces.layout import Layout, State, parts, tensor


class DataSpace(ABC):
    """A space of states. Implementations hold no state of their own beyond their parameters."""

    @abstractmethod
    def layout(self, x: State) -> Layout:
        """The layout of a dense batch `x` (B, ...)."""

    @abstractmethod
    def validate(self, x: State, layout: Layout) -> None:
        """Raise InputError or NonFiniteError unless `x` is a batch of this space."""

    @abstractmethod
    def project(self, x: State, layout: Layout) -> State:
        """The orthogonal projection of `x` onto the space: idempotent."""

    @abstractmethod
    def dim(self, layout: Layout) -> Int64[Tensor, " batch"]:
        """(B,) int64, degrees of freedom of each sample."""

    def put(self, x: State, known: State, mask: State, layout: Layout) -> State:
        """`x` with the entries of `known` where `mask`, which broadcasts, is true: a state of the
        space."""
        return self.project(torch.where(tensor(mask), tensor(known), tensor(x)), layout)


@final
@dataclass(frozen=True)
class Euclidean(DataSpace):
    """Real vectors, images, signals: any floating-point tensor."""

    def layout(self, x: State) -> Layout:
        x = tensor(x)
        return Layout.dense(x.shape[0], x.shape[1:], dtype=x.dtype, device=x.device)

    def validate(self, x: State, layout: Layout) -> None:
        _check_real(tensor(x), layout)

    def project(self, x: State, layout: Layout) -> State:
        return layout.zero_padding(tensor(x))

    def dim(self, layout: Layout) -> Int64[Tensor, " batch"]:
        return layout.sizes


@final
@dataclass(frozen=True)
class ZeroCoM(DataSpace):
    """Sets of points (rows, d) whose mean is zero in each sample: positions up to translation.

    A sample of n points in d dimensions has d (n - 1) degrees of freedom. Layouts are ragged, or
    dense with states (B, n, d) and an optional padding mask (B, n).
    """

    def layout(self, x: State) -> Layout:
        x = tensor(x)
        if x.ndim != 3:
            raise InputError(
                "a dense batch of point sets is (B, n, d)",
                value=tuple(x.shape),
                fix="use Layout.ragged(counts, (d,)) for samples of different sizes",
            )
        return Layout.dense(x.shape[0], x.shape[1:], dtype=x.dtype, device=x.device)

    def validate(self, x: State, layout: Layout) -> None:
        x = tensor(x)
        axes = 3 if layout.index is None else 2
        if x.ndim != axes:
            raise InputError("points are (B, n, d), or (rows, d) when ragged", value=tuple(x.shape))
        _check_real(x, layout)
        x = layout.zero_padding(x)
        centre = layout.mean_point(x).abs().max().item()
        scale = max(1.0, x.abs().max().item())
        limit = 100 * torch.finfo(x.dtype).eps * scale
        if centre > limit:
            raise InputError(
                "the mean of each sample must be zero",
                value=centre,
                limit=f"{limit:.1e}",
                fix="call space.project(x, layout) first",
            )

    def project(self, x: State, layout: Layout) -> State:
        x = tensor(x)
        return layout.zero_padding(x - layout.mean_point(x))

    def dim(self, layout: Layout) -> Int64[Tensor, " batch"]:
        return layout.sizes - layout.shape[-1]

    def put(self, x: State, known: State, mask: State, layout: Layout) -> State:
        """As positions are known up to translation, what is put in is where the masked points lie
        to each other: k_i + mean over the mask of (x_j - k_j), axis by axis. The mean stays zero.
        """
        x, known = tensor(x), tensor(known)
        where = tensor(mask).expand(x.shape)
        share = layout.mean_point(where.to(x.dtype)).clamp_min(torch.finfo(x.dtype).tiny)
        shift = layout.mean_point(torch.where(where, x - known, 0)) / share
        return layout.zero_padding(torch.where(where, known + shift, x))


@final
@dataclass(frozen=True)
class Tokens(DataSpace):
    """Sequences or arrays of categories 0 .. vocab - 1, int64."""

    vocab: int

    def __post_init__(self) -> None:
        if self.vocab < 2:
            raise InputError("a vocabulary has two tokens or more", value=self.vocab, limit=">= 2")

    def layout(self, x: State) -> Layout:
        x = tensor(x)
        return Layout.dense(x.shape[0], x.shape[1:], dtype=torch.int64, device=x.device)

    def validate(self, x: State, layout: Layout) -> None:
        x = tensor(x)
        if x.dtype != torch.int64:
            raise InputError("tokens are int64", value=x.dtype, fix="convert with x.long()")
        _check_shape(x, layout)
        real = x if layout.mask is None else x[layout.mask]
        if real.numel() and (real.min() < 0 or real.max() >= self.vocab):
            raise InputError(
                "token out of range",
                value=(int(real.min()), int(real.max())),
                limit=f"0 to {self.vocab - 1}",
            )

    def project(self, x: State, layout: Layout) -> State:
        return layout.zero_padding(tensor(x))

    def dim(self, layout: Layout) -> Int64[Tensor, " batch"]:
        return layout.sizes


@final
@dataclass(frozen=True)
class ProductSpace(DataSpace):
    """Several spaces diffused together: states are dicts, one tensor per part."""

    parts: Mapping[str, DataSpace]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("a product has at least one part")

    def layout(self, x: State) -> Layout:
        x = parts(x, self.parts)
        return Layout.product({name: space.layout(x[name]) for name, space in self.parts.items()})

    def validate(self, x: State, layout: Layout) -> None:
        x = parts(x, self.parts)
        for name, space in self.parts.items():
            space.validate(x[name], layout[name])

    def project(self, x: State, layout: Layout) -> State:
        x = parts(x, self.parts)
        return {n: tensor(space.project(x[n], layout[n])) for n, space in self.parts.items()}

    def dim(self, layout: Layout) -> Int64[Tensor, " batch"]:
        return torch.stack([space.dim(layout[n]) for n, space in self.parts.items()]).sum(0)

    def put(self, x: State, known: State, mask: State, layout: Layout) -> State:
        """Part by part; one that the mask leaves out stays."""
        x, known, mask = parts(x, self.parts), parts(known), parts(mask)
        return {
            n: tensor(space.put(x[n], known[n], mask[n], layout[n])) if n in mask else x[n]
            for n, space in self.parts.items()
        }


def _check_shape(x: Tensor, layout: Layout) -> None:
    if tuple(x.shape) != layout.shape:
        raise InputError("wrong shape of the state", value=tuple(x.shape), limit=layout.shape)


def _check_real(x: Tensor, layout: Layout) -> None:
    if not x.dtype.is_floating_point:
        raise InputError("a real state is floating point", value=x.dtype, fix="use x.float()")
    _check_shape(x, layout)
    bad = int((~torch.isfinite(layout.zero_padding(x))).sum())
    if bad:
        raise NonFiniteError("the state has NaN or infinite entries", value=bad, limit=0)
