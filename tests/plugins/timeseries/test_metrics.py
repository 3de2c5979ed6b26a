"""Scores against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from unnoise.errors import InputError
from unnoise_timeseries import evaluation, metrics


def test_the_two_numbers_that_are_called_crps():
    """A forecast N(0, 1) of N(0, 1): 19 quantiles give .591419, the score itself 1 / sqrt(pi)."""
    truth = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    quantiles = np.repeat(stats.norm.ppf(metrics.LEVELS)[:, None], len(truth), 1)
    loss = metrics.pinball(quantiles, truth, metrics.LEVELS)
    assert loss.mean() == pytest.approx(0.591419, abs=2e-5)
    closed = 2 * stats.norm.pdf(stats.norm.ppf(metrics.LEVELS))
    assert loss == pytest.approx(closed, abs=1e-4)
    rng = np.random.default_rng(0)
    samples, cells = rng.normal(size=(200, 20_000)), rng.normal(size=20_000)
    assert metrics.fair_crps(samples, cells) == pytest.approx(0.564190, abs=0.01)
    loss = metrics.quantile_loss(samples, cells, normalised=False)
    assert loss == pytest.approx(0.591419, abs=0.012)
    size = np.abs(cells).mean()
    assert metrics.quantile_loss(samples, cells) == pytest.approx(loss / size)


@pytest.mark.parametrize("n", [2, 5, 20])
def test_the_fair_score_does_not_depend_on_the_number_of_samples(n):
    rng = np.random.default_rng(n)
    samples, cells = rng.normal(size=(n, 200_000)), rng.normal(size=200_000)
    assert metrics.fair_crps(samples, cells) == pytest.approx(0.564190, abs=0.01)


def test_the_fair_score_by_its_definition():
    rng = np.random.default_rng(1)
    samples, truth = rng.normal(size=(7, 5)), rng.normal(size=5)
    pairs = np.abs(samples[:, None] - samples[None]).sum((0, 1)) / (7 * 6)
    expected = (np.abs(samples - truth).mean(0) - pairs / 2).mean()
    assert metrics.fair_crps(samples, truth) == pytest.approx(expected, rel=1e-12)


def test_the_energy_score():
    rng = np.random.default_rng(2)
    samples, truth = rng.normal(size=(9, 4, 1)), rng.normal(size=(4, 1))
    one = metrics.energy_score(samples, truth)  # in one dimension it is the CRPS
    assert one == pytest.approx(metrics.fair_crps(samples[..., 0], truth[:, 0]), rel=1e-12)
    # of N(0, I) in d dimensions: E|X - y| = sqrt(2) E|N| and half of it is the spread
    samples, truth = rng.normal(size=(60, 4000, 3)), rng.normal(size=(4000, 3))
    expected = np.sqrt(2) * stats.chi(3).mean() / 2
    assert metrics.energy_score(samples, truth) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("level", metrics.INTERVALS)
def test_coverage(level):
    rng = np.random.default_rng(3)
    samples, cells = rng.normal(size=(400, 20_000)), rng.normal(size=20_000)
    assert metrics.coverage(samples, cells, level) == pytest.approx(level, abs=0.01)


def test_coverage_does_not_depend_on_the_number_of_samples():
    rng = np.random.default_rng(6)
    for n in (19, 20, 50):
        samples, cells = rng.normal(size=(n, 40_000)), rng.normal(size=40_000)
        assert metrics.coverage(samples, cells, 0.9) == pytest.approx(0.9, abs=0.007)


def test_errors_of_the_median():
    samples = np.array([[0.0, 1.0], [1.0, 1.0], [5.0, 1.0]])
    truth = np.array([2.0, 0.0])
    assert metrics.mae(samples, truth) == 1.0
    assert metrics.rmse(samples, truth) == 1.0
    assert metrics.rmse(samples, truth - np.array([0.0, 2.0])) == pytest.approx(np.sqrt(5))


def test_the_energy_score_of_rows_is_that_of_their_hidden_cells(monkeypatch):
    rng = np.random.default_rng(5)
    mask = np.zeros((7, 3), bool)
    mask[[1, 1, 4, 5, 5, 5], [0, 2, 1, 0, 1, 2]] = True
    samples, truth = rng.normal(size=(30, 6)), rng.normal(size=6)
    parts = [slice(0, 2), slice(2, 3), slice(3, 6)]
    expected = np.mean([metrics.energy_score(samples[:, None, p], truth[None, p]) for p in parts])
    assert evaluation.energy(samples, truth, mask) == pytest.approx(expected)
    monkeypatch.setattr(evaluation, "_ROWS", 2)
    assert evaluation.energy(samples, truth, mask) == pytest.approx(expected)


def test_bad_input():
    good = np.zeros((3, 2))
    with pytest.raises(InputError, match="samples"):
        metrics.mae(good, np.zeros(3))
    with pytest.raises(InputError, match="n >= 2"):
        metrics.fair_crps(good[:1], np.zeros(2))
    with pytest.raises(InputError, match="finite"):
        metrics.mae(good, np.array([0.0, np.nan]))
    with pytest.raises(InputError, match="no cell"):
        metrics.mae(np.zeros((3, 0)), np.zeros(0))
    with pytest.raises(InputError, match="share"):
        metrics.coverage(good, np.zeros(2), 1.0)
    with pytest.raises(InputError, match="energy"):
        metrics.energy_score(good, np.zeros(2))


def test_a_table_has_a_row_for_each_method():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=50)
    rows = {"a": metrics.scores(rng.normal(size=(20, 50)), truth, 2.0), "b": {"mae": 1.0}}
    assert rows["a"]["mae, normalised"] == pytest.approx(rows["a"]["mae"] / 2)
    lines = metrics.summary(rows).splitlines()
    assert len(lines) == 4
    assert "fair CRPS" in lines[0]
    assert "coverage 90%" in lines[0]
    assert len({line.count("|") for line in lines}) == 1
