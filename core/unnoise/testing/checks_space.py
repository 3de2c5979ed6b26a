"""What a `DataSpace` is checked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from torch import Tensor

from unnoise.errors import UnnoiseError
from unnoise.spaces import DataSpace, Layout, State, tensor
from unnoise.testing.examples import example_layout, random_state
from unnoise.testing.report import CheckFailed, Skip, require, within

_EXACT = 1e-9  # of float64 arithmetic on numbers of order 1
_STEP = 1e-6  # of finite differences


@final
@dataclass(frozen=True, eq=False)
class SpaceCase:
    """A space, and the layout of a batch to check it on."""

    space: DataSpace
    given: Layout | None
    seed: int

    @property
    def layout(self) -> Layout:
        return example_layout(self.space) if self.given is None else self.given

    def state(self, number: int = 0) -> State:
        return random_state(self.space, self.layout, self.seed + number)

    def anything(self, number: int = 0) -> State:
        """Numbers that need not lie in the space."""
        torch_seed = torch.Generator().manual_seed(self.seed + 1000 + number)
        return _map(
            lambda part, layout: layout.zero_padding(
                torch.randn(layout.shape, generator=torch_seed, dtype=torch.float64).to(part.dtype)
                if layout.dtype.is_floating_point
                else part
            ),
            self.state(number),
            self.layout,
        )


def states_are_valid(case: SpaceCase) -> str | None:
    """What `project` makes of random numbers passes `validate`."""
    case.space.validate(case.state(), case.layout)
    return None


def projection_is_idempotent(case: SpaceCase) -> str:
    """P(P(x)) = P(x), and P leaves the states of the space alone."""
    once = case.space.project(case.anything(), case.layout)
    case.space.validate(once, case.layout)
    twice = case.space.project(once, case.layout)
    return within(_distance(once, twice), _EXACT, "|P(P(x)) - P(x)|")


def projection_is_orthogonal(case: SpaceCase) -> str:
    """At a state, the derivative of P is an orthogonal projection: symmetric, J J = J.

    Of a linear P that is P itself; of a curved space, its tangent plane.
    """
    worst = 0.0
    for jacobian in _jacobians(case):
        worst = max(worst, float((jacobian - jacobian.mT).abs().max()))
        worst = max(worst, float((jacobian @ jacobian - jacobian).abs().max()))
    return within(worst, 1e-4, "|J - J^T|, |J J - J|")


def dim_is_the_rank_of_the_projection(case: SpaceCase) -> str:
    """`dim` is the number of directions in which states can move, sample by sample."""
    dim = case.space.dim(case.layout)
    require(dim.shape == (case.layout.batch,), f"dim has shape {tuple(dim.shape)}, not (B,)")
    require(dim.dtype == torch.int64, f"dim is {dim.dtype}, not int64")
    ranks = [int(torch.linalg.matrix_rank(j, tol=0.1)) for j in _jacobians(case)]
    require(dim.tolist() == ranks, f"dim says {dim.tolist()}, the projection has rank {ranks}")
    return f"dim {dim.tolist()}"


def layout_round_trip(case: SpaceCase) -> str | None:
    """`layout(x)` describes the dense batch x: samples, shape, type, and x is valid in it."""
    if any(part.index is not None for part in _layouts(case.layout)):
        raise Skip("`layout` is of dense batches")
    for dtype in (torch.float32, torch.float64):
        x = _map(lambda v, _, d=dtype: _to(v, d), case.state(), case.layout)  # type: ignore[misc]
        x = case.space.project(x, case.space.layout(x))
        found = case.space.layout(x)
        require(found.batch == case.layout.batch, f"{found.batch} samples, not {case.layout.batch}")
        case.space.validate(x, found)
        _map(_described, x, found)
    return None


def _described(x: Tensor, layout: Layout) -> Tensor:
    require(layout.shape == tuple(x.shape), f"shape {layout.shape}, not {tuple(x.shape)}")
    require(layout.dtype == x.dtype, f"a layout of {layout.dtype} for a state of {x.dtype}")
    require(layout.device == x.device, f"device {layout.device}, not {x.device}")
    return x


def _to(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.dtype.is_floating_point else x


def wrong_states_are_refused(case: SpaceCase) -> str | None:
    """Another shape, another type and NaN are errors of ours."""
    x, layout = case.state(), case.layout
    _refused(case, _map(lambda part, _: part[:-1], x, layout), "a state with a row less")
    _refused(case, _map(lambda part, _: _retyped(part), x, layout), "a state of another type")
    if any(part.dtype.is_floating_point for part in _tensors(x)):
        _refused(case, _map(lambda part, _: _with_nan(part), x, layout), "a state with NaN")
    return None


def input_is_left_alone(case: SpaceCase) -> str | None:
    """`project` and `validate` do not write into what they are given."""
    x = case.anything()
    before = _map(lambda part, _: part.clone(), x, case.layout)
    case.space.project(x, case.layout)
    require(_distance(before, x) == 0, "project changed its argument")
    valid = case.state()
    before = _map(lambda part, _: part.clone(), valid, case.layout)
    case.space.validate(valid, case.layout)
    require(_distance(before, valid) == 0, "validate changed its argument")
    return None


def ragged_batches(case: SpaceCase) -> str:
    """Samples of several sizes, rows one after the other, are projected as each alone."""
    alone = _dense_single(case)
    counts = [2, 4, 1, 3]
    ragged = Layout.ragged(counts, alone.shape[2:], dtype=alone.dtype)
    x = torch.randn(ragged.shape, generator=_generator(case), dtype=torch.float64)
    try:
        together = tensor(case.space.project(x, ragged))
        case.space.validate(together, ragged)
    except UnnoiseError as error:
        raise Skip(f"ragged batches are refused: {error.message}") from error
    worst = 0.0
    dims = case.space.dim(ragged).tolist()
    for rows, part, dim in zip(*(torch.split(v, counts) for v in (x, together)), dims, strict=True):
        layout = Layout.dense(1, rows.shape, dtype=rows.dtype)
        single = tensor(case.space.project(rows[None], layout))[0]
        worst = max(worst, float((single - part).abs().max()))
        own = int(case.space.dim(layout))
        require(own == dim, f"a sample of {len(rows)} rows has dim {dim} in a batch, {own} alone")
    return within(worst, _EXACT, "difference to single samples")


def padded_batches(case: SpaceCase) -> str:
    """Padding is zero after projection, counts nothing, and its content does not matter."""
    alone = _dense_single(case)
    counts = [2, 4, 3]
    mask = torch.arange(4) < torch.tensor(counts)[:, None]
    padded = Layout.dense(3, (4, *alone.shape[2:]), mask=mask, dtype=alone.dtype)
    x = torch.randn(padded.shape, generator=_generator(case), dtype=torch.float64)
    try:
        together = tensor(case.space.project(x, padded))
        case.space.validate(together, padded)
    except UnnoiseError as error:
        raise Skip(f"padded batches are refused: {error.message}") from error
    require(bool((together[~mask] == 0).all()), "padding is not zero after project")
    spoiled = x.clone()
    spoiled[~mask] = 1e3
    worst = _distance(together, case.space.project(spoiled, padded))
    dims = case.space.dim(padded).tolist()
    for rows, part, n, dim in zip(x, together, counts, dims, strict=True):
        layout = Layout.dense(1, (n, *rows.shape[1:]), dtype=rows.dtype)
        single = tensor(case.space.project(rows[None, :n], layout))[0]
        worst = max(worst, float((single - part[:n]).abs().max()))
        own = int(case.space.dim(layout))
        require(own == dim, f"a sample of {n} points has dim {dim} in a padded batch, {own} alone")
    return within(worst, _EXACT, "difference to single samples")


CHECKS: Final[tuple[Callable[[SpaceCase], str | None], ...]] = (
    states_are_valid,
    projection_is_idempotent,
    projection_is_orthogonal,
    dim_is_the_rank_of_the_projection,
    layout_round_trip,
    wrong_states_are_refused,
    input_is_left_alone,
    ragged_batches,
    padded_batches,
)


def _jacobians(case: SpaceCase) -> list[Tensor]:
    """For each sample the derivative of P at a state, (n, n), by central differences."""
    x, layout = case.state(), case.layout
    if isinstance(x, dict) or not x.dtype.is_floating_point:
        raise Skip("states that are not one real tensor have no directions")
    if layout.dtype != torch.float64:
        raise Skip("derivatives are taken in float64; pass a layout of that type")
    columns = []
    for entry in range(x.numel()):
        shift = torch.zeros_like(x)
        shift.view(-1)[entry] = _STEP
        up, down = (tensor(case.space.project(x + sign * shift, layout)) for sign in (1, -1))
        columns.append(((up - down) / (2 * _STEP)).flatten())
    whole = torch.stack(columns, 1)
    owner = _owners(layout)
    inside = [whole[owner == k][:, owner == k] for k in range(layout.batch)]
    across = whole * (owner[:, None] != owner[None, :])
    if float(across.abs().max()) > _EXACT:
        raise CheckFailed(f"samples of a batch move each other: {float(across.abs().max()):.2g}")
    return inside


def _owners(layout: Layout) -> Tensor:
    """The sample of each entry of a flattened state; -1 in the padding."""
    rows = torch.arange(layout.batch) if layout.index is None else layout.index
    like = torch.zeros(layout.shape)
    owner = torch.as_tensor(
        layout.expand(rows.double(), like)
        if layout.index is None
        else rows.view(-1, *(1,) * (like.ndim - 1))
    ).expand(layout.shape)
    owner = owner.long() + 1
    return (layout.zero_padding(owner.contiguous()) - 1).flatten()


def _dense_single(case: SpaceCase) -> Layout:
    """The layout of dense samples (points, d) to build others from."""
    layout = case.layout
    if layout.fields or not layout.dtype.is_floating_point:
        raise Skip("for spaces of one real tensor")
    if layout.index is not None or len(layout.shape) != 3:
        raise Skip("for samples that are points in rows, (B, n, d)")
    return replace(layout, mask=None)


def _refused(case: SpaceCase, x: State, what: str) -> None:
    try:
        case.space.validate(x, case.layout)
    except UnnoiseError:
        return
    raise CheckFailed(f"{what} passes validate")


def _generator(case: SpaceCase) -> torch.Generator:
    return torch.Generator().manual_seed(case.seed)


def _retyped(x: Tensor) -> Tensor:
    return x.long() if x.dtype.is_floating_point else x.double()


def _with_nan(x: Tensor) -> Tensor:
    if not x.dtype.is_floating_point:
        return x
    spoiled = x.clone()
    spoiled.view(-1)[0] = torch.nan
    return spoiled


def _tensors(x: State) -> list[Tensor]:
    return list(x.values()) if isinstance(x, dict) else [x]


def _layouts(layout: Layout) -> list[Layout]:
    return list(layout.fields.values()) if layout.fields else [layout]


def _map(f: Callable[[Tensor, Layout], Tensor], x: State, layout: Layout) -> State:
    if isinstance(x, dict):
        return {name: f(part, layout[name]) for name, part in x.items()}
    return f(x, layout)


def _distance(a: State, b: State) -> float:
    if isinstance(a, dict):
        assert isinstance(b, dict)
        return max(_distance(a[name], b[name]) for name in a)
    return float((a.double() - tensor(b).double()).abs().max()) if a.numel() else 0.0
