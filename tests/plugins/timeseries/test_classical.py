"""Fitting the law: what is known is found again, and the right equations are chosen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from unnoise_timeseries.choice import WALK, candidates, chosen, held_out, normal_crps, refitted
from unnoise_timeseries.classical import features_of, fit, pieces_of, waves_of
from unnoise_timeseries.law import Equation

RNG = np.random.default_rng


def var1(rows: int, weights: np.ndarray, noise: np.ndarray, seed: int = 0) -> np.ndarray:
    rng, root = RNG(seed), np.linalg.cholesky(noise)
    x = np.zeros((rows, len(weights)))
    for t in range(1, rows):
        x[t] = weights @ x[t - 1] + root @ rng.normal(size=len(weights))
    return x


def holed(x: np.ndarray, share: float = 0.3, seed: int = 1) -> np.ndarray:
    return np.where(RNG(seed).random(x.shape) < share, np.nan, x)


def hours(rows: int) -> pd.DatetimeIndex:
    return pd.date_range("2024-01-01", periods=rows, freq="h")


def test_a_var1_with_holes_is_found_again():
    """Of 6,000 rows an entry of A has a standard error of about 0.015 with a third missing."""
    weights = np.array([[0.7, 0.0], [0.4, 0.5]])
    noise = np.array([[0.5, 0.2], [0.2, 0.4]])
    x = holed(var1(6000, weights, noise))
    pieces = pieces_of([x], [hours(6000)], {})
    numbers = fit(pieces, [Equation(name="across")] * 2, 30)
    np.testing.assert_allclose(numbers.weights[0], weights, atol=0.06)
    np.testing.assert_allclose(numbers.noise, noise, atol=0.06)


def test_a_day_is_found_under_an_autoregression():
    rows = 2400
    index = hours(rows)
    day = 1.5 * np.sin(2 * np.pi * np.arange(rows) / 24 + 1)
    x = holed(day[:, None] + var1(rows, np.array([[0.6]]), np.array([[0.1]])))
    waves = waves_of(["day"], index)
    assert waves == {"day": 6}
    pieces = pieces_of([x], [index], waves)
    numbers = fit(pieces, [Equation(name="own", cycles=True)], 15)
    # the mean that the equation turns about: (1 - A shift) day
    found = features_of(index, waves) @ numbers.drift[0]
    truth = day - 0.6 * np.roll(day, 1)
    assert np.abs(found.numpy()[1:] - truth[1:]).max() < 0.12
    assert float(numbers.weights[0, 0, 0]) == pytest.approx(0.6, abs=0.05)


def test_harmonics_that_rows_cannot_show_are_left_out():
    monthly = pd.date_range("2000-01-01", periods=48, freq="MS")
    assert waves_of(["year"], monthly) == {"year": 3}
    six = pd.date_range("2024-01-01", periods=48, freq="6h")
    assert waves_of(["day"], six) == {"day": 1}
    assert features_of(six, {"day": 1}).shape == (48, 3)


@pytest.mark.parametrize(
    ("rows", "columns", "most"), [(50, 2, 1), (3000, 3, 4), (500, 26, 4), (150, 26, 1)]
)
def test_few_rows_tell_few_equations_apart(rows, columns, most):
    found = candidates(rows, columns, False)
    assert max(own.lags for own in found) == most
    assert any(own.name == "across" for own in found) == (rows > 10 * columns and columns > 1)


def test_what_is_hidden_to_choose_by():
    x = holed(var1(1000, np.eye(2) * 0.5, np.eye(2)))
    pieces = pieces_of([x], [hours(1000)], {})
    single, runs = held_out(pieces, [True, False], 12, False)
    assert not (single & runs).any()
    assert not (single | runs)[..., 1].any()
    assert not ((single | runs) & ~pieces.seen).any()
    assert 0.05 < float(single.sum()) / float(pieces.seen[..., 0].sum()) < 0.15
    _, rows = held_out(pieces, [True, True], 12, True)
    both = pieces.seen.all(-1)
    assert torch.equal(rows[..., 0][both], rows[..., 1][both])


def test_the_crps_of_a_normal_law():
    drawn = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for error, spread in ((0.0, 1.0), (0.7, 2.0), (-3.0, 0.5)):
        x = spread * drawn
        truth = (x - error).abs().mean() - (x[::2] - x[1::2]).abs().mean() / 2
        found = normal_crps(torch.tensor(error), torch.tensor(spread))
        assert float(found) == pytest.approx(float(truth), abs=0.02)


def test_the_right_equations_are_chosen():
    rows = 1500
    walk = RNG(3).normal(size=(rows, 1)).cumsum(0)
    z = holed((walk - walk.mean()) / walk.std())
    found = chosen(pieces_of([z], [hours(rows)], {}), [True], 12)
    assert found.columns == (WALK,)
    # the second column is the first an hour ago and little else: only `across` sees it
    first = RNG(4).normal(size=rows)
    both = np.stack([first, np.roll(first, 1) + 0.1 * RNG(5).normal(size=rows)], -1)
    found = chosen(pieces_of([holed(both, 0.1)], [hours(rows)], {}), [True, True], 12)
    assert found.columns[1].name == "across"
    walks = found.scores["random walk"]
    best = min(found.scores.values())
    assert best[0] < 0.75 * walks[0]
    assert found.reach >= 4


def test_a_law_is_fitted_again_to_more():
    x = var1(1500, np.array([[0.8]]), np.array([[0.36]]))
    pieces = pieces_of([holed(x, 0.5)], [hours(1500)], {})
    law = fit(pieces, [Equation(name="own")], 5).law([Equation(name="own")], {})
    again = refitted(law, [x], [hours(1500)])
    assert again.equations == law.equations
    slope = float((x[1:] * x[:-1]).sum() / (x[:-1] ** 2).sum())
    assert again.weights[0][0] == pytest.approx(slope, abs=0.02)
