"""Spaces: projections are orthogonal, of the rank that `dim` says, and bad states are refused."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.spaces import Euclidean, Layout, ProductSpace, Tokens, ZeroCoM

D = torch.float64
MASK = torch.tensor([[True, True, True, False]])

CASES = {
    "euclidean": (Euclidean(), Layout.dense(1, (4, 3), dtype=D), 12),
    "euclidean padded": (Euclidean(), Layout.dense(1, (4, 3), mask=MASK, dtype=D), 9),
    "euclidean ragged": (Euclidean(), Layout.ragged([4], (3,), dtype=D), 12),
    "zero mean": (ZeroCoM(), Layout.dense(1, (4, 3), dtype=D), 9),
    "zero mean padded": (ZeroCoM(), Layout.dense(1, (4, 3), mask=MASK, dtype=D), 6),
    "zero mean ragged": (ZeroCoM(), Layout.ragged([4], (3,), dtype=D), 9),
    "zero mean in a plane": (ZeroCoM(), Layout.ragged([5], (2,), dtype=D), 8),
    "zero mean of one": (ZeroCoM(), Layout.ragged([1], (3,), dtype=D), 0),
}


def matrix(space, layout) -> torch.Tensor:
    """The projection of one sample as a matrix."""
    n = math.prod(layout.shape)
    columns = [space.project(e.view(layout.shape), layout).flatten() for e in torch.eye(n, dtype=D)]
    return torch.stack(columns, 1)


@pytest.mark.parametrize("name", CASES)
def test_projection_is_orthogonal_with_the_rank_of_dim(name):
    space, layout, dim = CASES[name]
    p = matrix(space, layout)
    torch.testing.assert_close(p @ p, p, rtol=0, atol=1e-14)
    torch.testing.assert_close(p, p.mT, rtol=0, atol=1e-14)
    assert int(torch.linalg.matrix_rank(p)) == dim
    assert space.dim(layout).tolist() == [dim]


@pytest.mark.parametrize("space", [Euclidean(), ZeroCoM()])
def test_a_batch_is_projected_sample_by_sample(space):
    counts = [2, 5, 1]
    alone = [torch.randn(n, 3, generator=torch.Generator().manual_seed(n), dtype=D) for n in counts]
    ragged = Layout.ragged(counts, (3,), dtype=D)
    together = space.project(torch.cat(alone), ragged).split(counts)
    mask = torch.arange(6)[None] < torch.tensor(counts)[:, None]
    padded = Layout.dense(3, (6, 3), mask=mask, dtype=D)
    x = torch.full((3, 6, 3), 7.0, dtype=D)
    for row, v in zip(x, alone, strict=True):
        row[: len(v)] = v
    wide = space.project(x, padded)
    assert wide[~mask].eq(0).all()
    for i, v in enumerate(alone):
        single = space.project(v, Layout.ragged([len(v)], (3,), dtype=D))
        torch.testing.assert_close(together[i], single, rtol=0, atol=1e-14)
        torch.testing.assert_close(wide[i, : len(v)], single, rtol=0, atol=1e-14)
    expected = [3 * (n - isinstance(space, ZeroCoM)) for n in counts]
    assert space.dim(ragged).tolist() == space.dim(padded).tolist() == expected


def test_what_is_projected_is_valid():
    g = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        layout = Layout.ragged([7, 300], (3,), dtype=dtype)
        x = 50 + 10 * torch.randn(layout.shape, generator=g, dtype=dtype)
        with pytest.raises(InputError, match=r"mean of each sample.*space\.project"):
            ZeroCoM().validate(x, layout)
        ZeroCoM().validate(ZeroCoM().project(x, layout), layout)


def test_the_layout_of_a_batch():
    x = torch.zeros(2, 3, 4, dtype=D)
    assert Euclidean().layout(x).shape == ZeroCoM().layout(x).shape == (2, 3, 4)
    assert Euclidean().layout(x).dtype == D
    assert Tokens(5).layout(torch.zeros(2, 7).long()).dtype == torch.int64
    with pytest.raises(InputError, match=r"\(B, n, d\).*Layout\.ragged"):
        ZeroCoM().layout(x[0])


def test_product():
    space = ProductSpace({"x": ZeroCoM(), "h": Tokens(4)})
    layout = Layout.product(
        {"x": Layout.ragged([2, 3], (3,), dtype=D), "h": Layout.ragged([2, 3], dtype=torch.int64)}
    )
    g = torch.Generator().manual_seed(0)
    state = {"x": torch.randn(5, 3, generator=g, dtype=D), "h": torch.tensor([0, 1, 2, 3, 0])}
    projected = space.project(state, layout)
    torch.testing.assert_close(projected["x"], ZeroCoM().project(state["x"], layout["x"]))
    assert projected["h"].equal(state["h"])
    assert space.dim(layout).tolist() == [3 + 2, 6 + 3]
    space.validate(projected, layout)
    with pytest.raises(InputError, match="mean of each sample"):
        space.validate(state, layout)
    with pytest.raises(InputError, match=r"\['x'\].*\['h', 'x'\]"):
        space.validate({"x": state["x"]}, layout)
    with pytest.raises(InputError, match=r"one tensor per part"):
        space.project(state["x"], layout)
    dense = space.layout({"x": torch.zeros(2, 5, 3), "h": torch.zeros(2, 5).long()})
    assert dense["x"].shape == (2, 5, 3)
    with pytest.raises(ConfigError, match="at least one part"):
        ProductSpace({})


REAL = Layout.dense(2, (3,))
TOKENS = Layout.dense(2, (3,), dtype=torch.int64)
PADDED = Layout.dense(2, (3,), mask=torch.tensor([[1, 1, 0], [1, 0, 0]]).bool())


@pytest.mark.parametrize(
    ("space", "x", "layout", "error", "words"),
    [
        (Euclidean(), torch.zeros(2, 3).long(), REAL, InputError, r"floating point.*x\.float\(\)"),
        (Euclidean(), torch.zeros(3, 2), REAL, InputError, r"shape.*\(3, 2\).*\(2, 3\)"),
        (Euclidean(), torch.full((2, 3), math.nan), REAL, NonFiniteError, "NaN.*got 6"),
        (Euclidean(), torch.tensor([[0, 0, math.inf]] * 2), REAL, NonFiniteError, "got 2"),
        (Euclidean(), {"x": torch.zeros(2, 3)}, REAL, InputError, "one tensor.*dict"),
        (ZeroCoM(), torch.zeros(2, 3), REAL, InputError, r"\(B, n, d\)"),
        (Tokens(4), torch.zeros(2, 3), TOKENS, InputError, r"int64.*float32.*x\.long\(\)"),
        (Tokens(4), torch.zeros(2, 4).long(), TOKENS, InputError, "shape"),
        (Tokens(4), torch.full((2, 3), 4), TOKENS, InputError, "out of range.*0 to 3"),
        (Tokens(4), torch.full((2, 3), -1), TOKENS, InputError, r"out of range.*-1.*0 to 3"),
    ],
)
def test_bad_states(space, x, layout, error, words):
    with pytest.raises(error, match=words):
        space.validate(x, layout)


def test_good_states_and_padding_that_is_never_read():
    Euclidean().validate(torch.zeros(2, 3), REAL)
    Tokens(4).validate(torch.tensor([[0, 1, 2], [3, 3, 3]]), TOKENS)
    nan = torch.full((2, 3), math.nan)
    Euclidean().validate(torch.where(PADDED.mask, 0.0, nan), PADDED)
    Tokens(4).validate(torch.where(PADDED.mask, 3, 99), PADDED)
    points = Layout.dense(2, (3, 2), mask=PADDED.mask)
    x = torch.where(PADDED.mask, 0.0, nan)[..., None].expand(2, 3, 2)
    ZeroCoM().validate(x, points)


def test_a_vocabulary_of_one():
    with pytest.raises(InputError, match="two tokens"):
        Tokens(1)
