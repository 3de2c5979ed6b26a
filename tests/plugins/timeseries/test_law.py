"""The law of hidden cells beside the same by dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_law import F64, dense, random_law

from unnoise_timeseries.law import (
    Equation,
    Numbers,
    bands_of,
    blocks,
    completed,
    conditional,
    expected,
    folded,
    spread_of,
    unblocked,
    unfolded,
)

CASES = [(1, 1, 7), (1, 3, 40), (3, 2, 40), (2, 5, 16), (6, 1, 64), (2, 20, 9)]


def case(lags: int, columns: int, rows: int):
    generator = torch.Generator().manual_seed(lags)
    numbers = random_law(lags, columns, 3)
    features = torch.randn(rows, 3, generator=generator, dtype=F64)
    x = torch.randn(rows, columns, generator=generator, dtype=F64)
    given = torch.rand(rows, columns, generator=generator) < 0.6
    given[rows // 3 : rows // 2] = False
    mean, covariance = dense(numbers, features)
    a, b = ~given.flatten(), given.flatten()
    gain = torch.linalg.solve(covariance[b][:, b], covariance[b][:, a]).mT
    expect = mean[a] + gain @ (x.flatten()[b] - mean[b])
    return numbers, x, given, features, expect, covariance[a][:, a] - gain @ covariance[b][:, a]


@pytest.mark.parametrize(("lags", "columns", "rows"), CASES)
def test_mean_and_spread_of_hidden_cells(lags, columns, rows):
    numbers, x, given, features, mean, covariance = case(lags, columns, rows)
    found = conditional(numbers, x, given, features)
    torch.testing.assert_close(found.mean[~given], mean, rtol=1e-9, atol=1e-9)
    assert torch.equal(found.mean[given], x[given])
    spread = spread_of(found.factor, columns, ~given)
    torch.testing.assert_close(spread[~given], covariance.diagonal().sqrt(), rtol=1e-9, atol=1e-9)
    assert (spread[given] == 0).all()


@pytest.mark.parametrize("size", [3, 7, 40])
def test_the_blocks_are_no_matter(size):
    numbers, x, given, features, mean, _ = case(3, 2, 40)
    found = conditional(numbers, x, given, features, size)
    torch.testing.assert_close(found.mean[~given], mean, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("lags", "columns", "rows"), CASES)
def test_the_factor_whitens(lags, columns, rows):
    """F Cov F' = I on the hidden cells, row t of F reads rows t - p .. t, and F d is undone."""
    numbers, x, given, features, _, covariance = case(lags, columns, rows)
    factor = conditional(numbers, x, given, features).factor
    total = factor.upper.shape[0] * numbers.block
    eye = torch.eye(total * columns, dtype=F64).view(-1, total, columns)
    full = unblocked(folded(factor, blocks(eye, numbers.block)), columns).flatten(1).mT
    full = full[: rows * columns, : rows * columns]
    hidden = ~given.flatten()
    own = full[hidden][:, hidden]
    eye = torch.eye(len(own), dtype=F64)
    torch.testing.assert_close(own @ covariance @ own.mT, eye, rtol=1e-8, atol=1e-8)
    cube = full.view(rows, columns, rows, columns)
    bands = bands_of(factor, numbers)[:rows]
    for t in range(rows):
        for lag in range(min(lags, t) + 1):
            assert torch.equal(bands[t, lag], cube[t, :, t - lag])
        cube[t, :, max(0, t - lags) : t + 1] = 0
    assert (cube == 0).all()
    d = torch.randn(2, *factor.upper.shape[:-1], dtype=F64)
    torch.testing.assert_close(unfolded(factor, folded(factor, d)), d, rtol=1e-8, atol=1e-8)


def test_a_batch_is_its_samples():
    numbers = random_law(2, 3, 1)
    x, features = torch.randn(4, 30, 3, dtype=F64), torch.ones(4, 30, 1, dtype=F64)
    given = torch.rand(4, 30, 3) < 0.5
    whole = expected(numbers, x, given, features)
    for k in range(4):
        own = expected(numbers, x[k], given[k], features[k])
        for name, value in own.items():
            torch.testing.assert_close(whole[name][k], value)
    # one mask for all: the factor is one, the means are not
    shared = expected(numbers, x, given[0], features[0])
    assert shared["bands"].shape == own["bands"].shape
    torch.testing.assert_close(
        shared["guess"][2], expected(numbers, x[2], given[0], features[0])["guess"]
    )


def test_draws_of_what_is_missing_have_the_laws_moments():
    """3,000 draws; each mean within 5 standard errors, a false alarm in a million cells."""
    numbers, x, given, features, mean, covariance = case(1, 3, 40)
    values = np.where(given.numpy(), x.numpy(), np.nan)
    drawn = completed(numbers, values, features, 3000)
    assert torch.equal(drawn[:, given], x.float()[given].expand(3000, -1))
    off = (drawn[:, ~given].double().mean(0) - mean) / (covariance.diagonal() / 3000).sqrt()
    assert float(off.abs().max()) < 5
    assert torch.equal(completed(numbers, x.numpy(), features, 2)[1], x.float())


def test_a_law_goes_to_json_and_back():
    numbers = random_law(2, 3, 5)
    equations = [Equation(name="walk"), Equation(name="own", lags=2), Equation(name="across")]
    law = numbers.law(equations, {"day": 2})
    assert type(law).model_validate_json(law.model_dump_json()) == law
    same = Numbers.of(law)
    for name in ("weights", "drift", "start", "noise", "first"):
        assert torch.equal(getattr(same, name), getattr(numbers, name))
    assert (
        str(law)
        == "random walk; autoregression of 2 rows; autoregression of 1 row over all columns"
    )
