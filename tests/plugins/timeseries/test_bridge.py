"""The law of a hidden cell given its neighbours in time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exact_series import ar1_covariance, conditional

from unnoise_timeseries.bridge import CLOSEST, bridge, memory_of, reach_of

ROWS = 12


@pytest.mark.parametrize("phi", [0.0, 0.6, 0.95, CLOSEST])
@pytest.mark.parametrize("hidden", [[3, 4, 5, 9], [0, 1, 11], [5]])
def test_the_bridge_is_the_exact_law_of_each_cell_of_an_ar1(phi, hidden):
    covariance = ar1_covariance(ROWS, phi)
    x = np.linalg.cholesky(covariance) @ np.random.default_rng(0).normal(size=ROWS)
    known = np.ones(ROWS, bool)
    known[hidden] = False
    mean, rest = conditional(covariance, known, x)
    given = torch.from_numpy(known)[:, None]
    observed = torch.from_numpy(np.where(known, x, 0.0))[:, None]
    m, s = bridge(observed, given, torch.tensor([phi], dtype=torch.float64))
    np.testing.assert_allclose(m[hidden, 0].numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(s[hidden, 0].numpy(), np.sqrt(np.diag(rest)), atol=1e-7)
    np.testing.assert_array_equal(m[known, 0].numpy(), x[known])
    assert (s[known] == 0).all()


def test_a_column_without_a_given_cell_is_standard_normal():
    given = torch.tensor([[False, True], [False, False], [False, True]])
    m, s = bridge(torch.full((3, 2), 2.0) * given, given, torch.tensor([0.9, 0.9]))
    assert (m[:, 0] == 0).all()
    assert (s[:, 0] == 1).all()
    assert m[1, 1] == pytest.approx(2 * 2 * 0.9 / (1 + 0.81))


def test_the_memory_of_an_ar1_with_holes():
    rng, phi = np.random.default_rng(1), np.array([0.9, 0.3])
    x = rng.normal(size=(20_000, 2))
    for t in range(1, len(x)):
        x[t] = phi * x[t - 1] + np.sqrt(1 - phi**2) * x[t]
    x[rng.random(x.shape) < 0.3] = np.nan
    assert memory_of([x[:9000], x[9000:]]) == pytest.approx(phi, abs=0.02)
    assert memory_of([np.zeros((5, 1))]) == (0.0,)
    assert memory_of([np.full((5, 1), np.nan)]) == (0.0,)


def test_the_largest_surprise_between_two_neighbours():
    x = np.zeros((9, 1))
    x[4] = 10.0
    u = 10.0 / np.sqrt((1 - 0.25) / (1 + 0.25))
    assert reach_of([x], [0.5]) == pytest.approx(u)
    assert reach_of([x[:2]], [0.5]) == 3.0
