"""The law of a linear Gaussian series, and what it says of hidden cells given the seen ones.

Rows x_t of K columns follow an autoregression over all columns with a mean that turns with the
calendar, h_t = (1, sin, cos, ..):

    x_t = A_1 x_(t-1) + .. + A_p x_(t-p) + D h_t + e_t,    e_t ~ N(0, S),       t >= p,
    (x_0, .., x_(p-1)) - D_0 h ~ N(0, S_0).

With r = W x - c the vector of all e, W lower triangular and banded, -2 log p(x) = |W x - c|^2 in
units of its covariance, so that the precision Q = W' S^-1 W has blocks on three diagonals, whatever
the number of rows. Hidden cells given seen ones are normal with precision Q_hh. Eliminated from the
last block of rows to the first, it is Q_hh = F' F with

    (F d)_i = U_i' d_i + B_(i-1) d_(i-1),    U_i U_i' = Q_ii - B_i' B_i,    U_(i+1) B_i = Q_(i+1)i,

U upper triangular. So u = F (x - m) is N(0, I): what each cell has new, given all seen cells, past
and future, and the hidden ones before it. Mean, draws and spread take one pass over the blocks,

    F' w = b - Q x_seen,  F d = w;    F d = noise;    Cov_i = U_i'^-1 (I + B Cov_(i-1) B') U_i^-1.

Rows that are missing altogether, and rows past the end, are hidden cells as others are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from unnoise_timeseries.cycles import Cycle

Rows = tuple[tuple[float, ...], ...]
_FEW = 3
_CELLS = 32  # of a block at least: fewer blocks are fewer steps, larger ones more work in each


@final
class Equation(BaseModel):
    """What a column follows: `walk`, the row before; `own`, its own last `lags` rows; `across`,
    those of all columns; the last two with the cycles of the calendar or without."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["walk", "own", "across"]
    lags: int = Field(1, ge=1)
    cycles: bool = False

    def __str__(self) -> str:
        if self.name == "walk":
            return "random walk"
        what = f"autoregression of {self.lags} row" + "s" * (self.lags > 1)
        what += " over all columns" if self.name == "across" else ""
        return what + (" about the calendar's mean" if self.cycles else "")


@final
class Law(BaseModel):
    """Fitted numbers, of standardised columns.

    Attributes
    ----------
    equations : of each column.
    waves : harmonics of each cycle in h_t; its columns are 1, then sin and cos of each.
    weights : (K, p K) rows of A_1 .. A_p side by side.
    drift, start : (K, C) D and D_0.
    noise, first : (K, K) S and (p K, p K) S_0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    equations: tuple[Equation, ...]
    waves: Mapping[Cycle, int] = Field(default_factory=dict)
    weights: Rows
    drift: Rows
    start: Rows
    noise: Rows
    first: Rows

    def __str__(self) -> str:
        return "; ".join(dict.fromkeys(map(str, self.equations)))


@final
@dataclass(frozen=True, eq=False)
class Numbers:
    """A `Law` as float64 tensors: `weights` (p, K, K), `drift` and `start` (K, C), `noise` (K, K),
    `first` (p K, p K)."""

    weights: Tensor
    drift: Tensor
    start: Tensor
    noise: Tensor
    first: Tensor

    @staticmethod
    def of(law: Law) -> Numbers:
        def tensor(rows: Rows) -> Tensor:
            return torch.tensor(rows, dtype=torch.float64)

        flat = tensor(law.weights)
        weights = flat.view(len(flat), -1, len(flat)).transpose(0, 1)
        return Numbers(
            weights, tensor(law.drift), tensor(law.start), tensor(law.noise), tensor(law.first)
        )

    def law(self, equations: Sequence[Equation], waves: Mapping[Cycle, int]) -> Law:
        def rows(x: Tensor) -> Rows:
            return tuple(map(tuple, x.tolist()))

        return Law(
            equations=tuple(equations),
            waves=dict(waves),
            weights=rows(self.weights.transpose(0, 1).flatten(1)),
            drift=rows(self.drift),
            start=rows(self.start),
            noise=rows(self.noise),
            first=rows(self.first),
        )

    @property
    def lags(self) -> int:
        return len(self.weights)

    @property
    def columns(self) -> int:
        return len(self.noise)

    @property
    def block(self) -> int:
        """Rows of a block."""
        return max(self.lags, -(-_CELLS // self.columns))


class Factor(NamedTuple):
    """F: `upper` (*batch, blocks, c, c) and `below` (*batch, blocks, c, c), c cells of a block;
    `below[i]` joins block i - 1 to block i, that of the first is zero."""

    upper: Tensor
    below: Tensor


class Conditional(NamedTuple):
    """Of hidden cells: mean (*batch, n, K), the seen value where seen, and F."""

    mean: Tensor
    factor: Factor


def conditional(
    numbers: Numbers,
    observed: Float[Tensor, "*batch n k"],
    given: Bool[Tensor, "*batch n k"],
    features: Float[Tensor, "*batch n c"],
    size: int | None = None,
) -> Conditional:
    """The law of the cells that are not `given`, from `observed`, float64, of any value there;
    `size` rows in a block."""
    rows, size = given.shape[-2], size or numbers.block
    more = -rows % size
    seen = F.pad(observed.masked_fill(~given, 0.0).double(), (0, 0, 0, more))
    hidden = F.pad(~given, (0, 0, 0, more), value=True)
    turned = F.pad(features.double(), (0, 0, 0, more))
    factor = factored(numbers, hidden, size)
    forces = blocks(_forces(numbers, seen, turned).masked_fill(~hidden, 0.0), size)
    mean = seen + unblocked(unfolded(factor, _adjoint_solved(factor, forces)), numbers.columns)
    return Conditional(mean[..., :rows, :], factor)


def factored(numbers: Numbers, hidden: Bool[Tensor, "*batch n k"], size: int) -> Factor:
    """F of the hidden cells; 1 on the diagonal of the others. n is a number of whole blocks."""
    first, middle, last, joint = _precision(numbers, size)
    mask = blocks(hidden, size).to(middle.dtype)
    count = mask.shape[-2]
    upper: list[Tensor] = [torch.empty(0)] * count
    below: list[Tensor] = [torch.zeros_like(middle).expand(*mask.shape[:-2], *middle.shape)] * count
    rest: Tensor | None = None
    for i in reversed(range(count)):
        own = mask[..., i, :]
        # one block alone is the first and the last
        whole = first + last - middle if count == 1 else (first, middle, last)[_place(i, count)]
        q = whole * own[..., :, None] * own[..., None, :] + torch.diag_embed(1 - own)
        q = q if rest is None else q - rest
        upper[i] = torch.linalg.cholesky(q.flip(-1, -2)).flip(-1, -2)
        if i:
            left = joint * own[..., :, None] * mask[..., i - 1, None, :]
            below[i] = torch.linalg.solve_triangular(upper[i], left, upper=True)
            rest = below[i].mT @ below[i]
    return Factor(torch.stack(upper, -3), torch.stack(below, -3))


def folded(factor: Factor, d: Float[Tensor, "*batch blocks c"]) -> Tensor:
    """u = F d."""
    u = (factor.upper.mT @ d[..., None])[..., 0]
    before = F.pad(d[..., :-1, :], (0, 0, 1, 0))
    return u + (factor.below @ before[..., None])[..., 0]


def unfolded(factor: Factor, u: Float[Tensor, "*batch blocks c"]) -> Tensor:
    """d with F d = u."""
    found: list[Tensor] = []
    for i in range(u.shape[-2]):
        right = u[..., i, :, None]
        if i:
            right = right - factor.below[..., i, :, :] @ found[-1]
        upper = factor.upper[..., i, :, :].mT
        found.append(torch.linalg.solve_triangular(upper, right, upper=False))
    return torch.stack(found, -3)[..., 0]


def spread_of(
    factor: Factor, columns: int, hidden: Bool[Tensor, "*batch n k"]
) -> Float[Tensor, "*batch n k"]:
    """Standard deviation of each hidden cell; 0 of the others."""
    eye = torch.eye(factor.upper.shape[-1], dtype=factor.upper.dtype)
    found: list[Tensor] = []
    covariance = torch.zeros_like(factor.upper[..., 0, :, :])
    for i in range(factor.upper.shape[-3]):
        below, upper = factor.below[..., i, :, :], factor.upper[..., i, :, :]
        inner = eye + below @ covariance @ below.mT
        half = torch.linalg.solve_triangular(upper.mT, inner, upper=False)
        covariance = torch.linalg.solve_triangular(upper.mT, half.mT, upper=False)
        found.append(covariance.diagonal(dim1=-2, dim2=-1))
    variance = unblocked(torch.stack(found, -2), columns)[..., : hidden.shape[-2], :]
    return variance.clamp(min=0).sqrt().masked_fill(~hidden, 0.0)


def blocks(x: Float[Tensor, "*batch n k"], size: int) -> Float[Tensor, "*batch blocks c"]:
    """Rows in blocks of `size`; n is a number of whole ones."""
    return x.reshape(*x.shape[:-2], x.shape[-2] // size, size * x.shape[-1])


def unblocked(x: Float[Tensor, "*batch blocks c"], columns: int) -> Float[Tensor, "*batch n k"]:
    return x.reshape(*x.shape[:-2], -1, columns)


def _adjoint_solved(factor: Factor, b: Tensor) -> Tensor:
    """w with F' w = b."""
    found: list[Tensor] = []
    for i in reversed(range(b.shape[-2])):
        right = b[..., i, :, None]
        if found:
            right = right - factor.below[..., i + 1, :, :].mT @ found[-1]
        upper = factor.upper[..., i, :, :]
        found.append(torch.linalg.solve_triangular(upper, right, upper=True))
    return torch.stack(found[::-1], -3)[..., 0]


def _place(i: int, count: int) -> int:
    return 0 if i == 0 else 2 if i == count - 1 else 1


@lru_cache(maxsize=8)
def _precision(numbers: Numbers, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The blocks of Q: the first, one in the middle, the last, and one below the diagonal."""
    p, k = numbers.lags, numbers.columns
    rows, cells = 3 * size, size * k
    residual = torch.eye(rows * k, dtype=torch.float64)
    cube = residual.view(rows, k, rows, k)
    for t in range(p, rows):
        for lag in range(p):
            cube[t, :, t - 1 - lag, :] -= numbers.weights[lag]
    root = torch.linalg.cholesky(numbers.noise)
    later = torch.linalg.solve_triangular(root, cube[p:].reshape(rows - p, k, -1), upper=False)
    later = later.reshape(-1, rows * k)
    q = later.mT @ later
    q[: p * k, : p * k] += torch.cholesky_inverse(torch.linalg.cholesky(numbers.first))
    parts = [q[i * cells : (i + 1) * cells, i * cells : (i + 1) * cells] for i in range(3)]
    return parts[0], parts[1], parts[2], q[cells : 2 * cells, :cells]


def _forces(numbers: Numbers, x: Tensor, features: Tensor) -> Tensor:
    """W' S^-1 (c - W x), of the shape of x."""
    p, k = numbers.lags, numbers.columns
    e = residuals(numbers, x, features)
    scaled = torch.cholesky_solve(e.mT, torch.linalg.cholesky(numbers.noise)).mT
    force = torch.zeros_like(x)
    force[..., p:, :] = scaled
    rows = x.shape[-2]
    for lag in range(1, p + 1):
        force[..., p - lag : rows - lag, :] -= scaled @ numbers.weights[lag - 1]
    begin = features[..., :p, :] @ numbers.start.mT - x[..., :p, :]
    flat = begin.reshape(*begin.shape[:-2], p * k, 1)
    own = torch.cholesky_solve(flat, torch.linalg.cholesky(numbers.first))
    force[..., :p, :] += own.reshape(begin.shape)
    return force


def residuals(numbers: Numbers, x: Tensor, features: Tensor) -> Float[Tensor, "*batch m k"]:
    """D h_t + sum A x_(t-l) - x_t of the rows from p on."""
    p, rows = numbers.lags, x.shape[-2]
    e = features[..., p:, :] @ numbers.drift.mT - x[..., p:, :]
    for lag in range(1, p + 1):
        e = e + x[..., p - lag : rows - lag, :] @ numbers.weights[lag - 1].mT
    return e


def bands_of(factor: Factor, numbers: Numbers) -> Float[Tensor, "*batch n p1 k k"]:
    """F row by row: entry (t, l) is what row t - l counts for in row t of F d."""
    k, p = numbers.columns, numbers.lags
    size = factor.upper.shape[-1] // k
    whole = torch.cat([factor.below, factor.upper.mT], -1)
    cube = whole.view(*whole.shape[:-2], size, k, 2 * size, k).movedim(-2, -3)
    row = torch.arange(size)[:, None]
    found = cube[..., row, row + size - torch.arange(p + 1), :, :]
    return found.flatten(-5, -4)


def expected(
    numbers: Numbers,
    observed: Float[Tensor, "*batch l k"],
    given: Bool[Tensor, "*batch l k"],
    features: Float[Tensor, "*batch l c"],
) -> dict[str, Tensor]:
    """What a model is told of the law of its hidden cells: "guess" and "spread" (*batch, L, K),
    float32, and "bands", F."""
    size = max(numbers.lags, -(-given.shape[-2] // _FEW))  # of a short window few, large blocks
    found = conditional(numbers, observed, given, features, min(size, numbers.block * _FEW))
    spread = spread_of(found.factor, numbers.columns, ~given)
    bands = bands_of(found.factor, numbers)[..., : given.shape[-2], :, :, :]
    return {"guess": found.mean.float(), "spread": spread.float(), "bands": bands.float()}


def completed(
    numbers: Numbers,
    values: np.ndarray[Any, np.dtype[Any]],
    features: Float[Tensor, "n c"],
    draws: int = 4,
) -> Float[Tensor, "draws n k"]:
    """A standardised series, NaN where missing, with draws of what is missing; float32, of one
    seed."""
    x = torch.from_numpy(np.asarray(values, dtype=np.float64))
    seen = ~x.isnan()
    if bool(seen.all()):
        return x.float().expand(draws, -1, -1)
    found = conditional(numbers, x.nan_to_num(), seen, features)
    cells = found.factor.upper.shape[:-1]
    noise = torch.randn(
        draws, *cells, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    d = unblocked(unfolded(found.factor, noise), numbers.columns)[..., : len(x), :]
    return (found.mean + d.masked_fill(seen, 0.0)).float()
