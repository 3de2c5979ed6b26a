"""Rank tests: exact false alarms, planted errors found, coverage, power."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unnoise.calibration import (
    ERRORS,
    calibrated,
    coverage,
    planted,
    power,
    ranked,
    ranks_by,
    ranks_of,
    verdict,
)
from unnoise.errors import InputError, NonFiniteError

N, L, D = 500, 40, 8


def posterior(n: int, draws: int, size: int, seed: int):
    """x ~ N(0, I), y = x + N(0, I): x | y ~ N(y / 2, I / 2). Truths and exact draws."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, size))
    mean = (x + generator.standard_normal((n, size))) / 2
    noise = generator.standard_normal((n, draws, size))
    return x, mean[:, None] + math.sqrt(0.5) * noise


def test_ranks_by_hand():
    truths = {"f": [0.5, -1.0, 9.0], "g": [0.0, 0.0, 0.0]}
    draws = {"f": [[0, 1, 2], [0, 1, 2], [0, 1, 2]], "g": np.ones((3, 3))}
    found = ranked(truths, draws)
    assert found.of_truths("f").tolist() == [1, 0, 3]
    assert found.of_truths("g").tolist() == [0, 0, 0]
    assert found.draws == 3
    assert np.sort(found.ranks, 1)[:, :, 0].tolist() == [[0, 1, 2, 3]] * 3


def test_ties_are_broken_at_random():
    found = ranked({"f": np.zeros(4000)}, {"f": np.zeros((4000, 3))})
    counts = np.bincount(found.of_truths("f"), minlength=4)
    assert abs(counts - 1000).max() < 6 * math.sqrt(4000 * 3 / 16)


@pytest.mark.parametrize("rounded", [False, True])
def test_the_false_alarm_rate_is_exact(rounded):
    """Small n and L, and numbers that are tied: P(p <= a) = a still."""
    trials, n, draws = 400, 12, 9
    alarms = {0.05: 0, 0.25: 0}
    for trial in range(trials):
        x, y = posterior(n, draws, 3, trial)
        x, y = (x.round(), y.round()) if rounded else (x, y)
        p = verdict(ranks_of(x, y, seed=trial), simulations=59, seed=trial).p_value
        for level in alarms:
            alarms[level] += p <= level + 1e-12
    for level, found in alarms.items():
        assert abs(found / trials - level) < 4.5 * math.sqrt(level * (1 - level) / trials)


def with_error(error: str, trial: int):
    """Truths, and draws of a wrong posterior."""
    x, y = posterior(N, L, D, 1000 + trial)
    generator = np.random.default_rng(trial)
    if error != "a lost mode":
        return x, planted(y, error, generator)
    # the first coordinate has modes at -2 and 2, of which the generator knows one
    x[:, 0] = generator.choice([-2.0, 2.0], N, p=[0.25, 0.75]) + 0.5 * x[:, 0]
    y[:, :, 0] = 2 + 0.5 * generator.standard_normal((N, L))
    return x, y


@pytest.mark.parametrize("error", ERRORS)
def test_errors_are_found(error):
    """Power at least .95 at n = 500 and 5 % false alarms."""
    trials = 40
    found = 0
    for trial in range(trials):
        x, y = with_error(error, trial)
        found += not verdict(ranks_of(x, y, seed=trial), simulations=99, seed=trial).passed
    assert found >= 0.95 * trials


def test_the_power_that_is_stated_is_that_of_such_a_test():
    _, y = posterior(N, L, D, 0)
    stated = power(y, trials=12)
    assert list(stated) == list(ERRORS)
    assert min(stated.values()) > 0.8
    _, few = posterior(25, L, D, 0)
    assert power(few, trials=12)["variance x 0.8"] < 0.6


def test_what_is_wrong_is_seen_where_it_is():
    x, y = posterior(N, L, 3, 5)
    y[:, :, 1] += 0.5
    found = calibrated(x, y, simulations=199)
    assert not found.passed
    assert found.by_name["coordinate 1"] == min(found.by_name.values()) == 1 / 200
    assert found.by_name["coordinate 0"] > 0.02
    assert (found.items, found.draws, found.level, found.power) == (N, 32, 0.05, {})
    right = calibrated(*posterior(N, L, 3, 5))
    assert right.passed


def test_intervals_cover_what_they_say():
    x, y = posterior(N, L, 3, 7)
    found = ranks_of(x, y)
    for name in found.names:
        assert coverage(found, name).inside
    narrow = ranks_of(x, y.mean(1, keepdims=True) + 0.6 * (y - y.mean(1, keepdims=True)))
    for name in ("coordinate 0", "distance from the mean"):
        seen = coverage(narrow, name)
        assert not seen.inside
        assert bool((seen.found <= seen.nominal + 0.02).all())  # too sure of itself


def test_the_band_holds_for_all_intervals_at_once():
    trials, outside = 200, 0
    for trial in range(trials):
        generator = np.random.default_rng(trial)
        found = ranked({"x": generator.random(60)}, {"x": generator.random((60, 19))})
        outside += not coverage(found, "x", simulations=200, level=0.1).inside
    assert outside / trials < 0.1 + 4 * math.sqrt(0.09 / trials)


def test_nominal_probabilities_are_exact():
    found = ranked({"x": [0.0], "distance": [0.0]}, {"x": [[1.0] * 9], "distance": [[1.0] * 9]})
    assert coverage(found, "x").nominal.tolist() == [0.8, 0.6, 0.4, 0.2]
    assert coverage(found, "distance").nominal.tolist() == [k / 10 for k in range(1, 10)]
    assert coverage(found, "distance").found.tolist() == [1.0] * 9


def test_any_objects_by_a_distance():
    """Words by the number of letters that differ."""
    generator = np.random.default_rng(0)

    def word(bias):
        return "".join(generator.choice(["a", "b"], 12, p=[bias, 1 - bias]))

    def differing(a, b):
        return float(sum(p != q for p, q in zip(a, b, strict=True)))

    biases = generator.uniform(0.2, 0.8, 120)
    truths, draws = [word(b) for b in biases], [[word(b) for _ in range(10)] for b in biases]
    assert verdict(ranks_by(truths, draws, differing), simulations=199).passed
    sure = [[word(0.9 if b > 0.5 else 0.1) for _ in range(10)] for b in biases]
    assert not verdict(ranks_by(truths, sure, differing), simulations=199).passed


def test_what_is_wrong_is_said():
    x, y = posterior(10, 8, 2, 0)
    with pytest.raises(InputError, match=r"\(n, L, d\)"):
        ranks_of(x, y[:, :, :1])
    with pytest.raises(InputError, match=">= 4 draws"):
        ranks_of(x, y[:, :3])
    with pytest.raises(NonFiniteError):
        ranks_of(x * math.nan, y)
    with pytest.raises(NonFiniteError):
        ranked({"f": [math.nan]}, {"f": [[1.0]]})
    with pytest.raises(InputError, match="same numbers"):
        ranked({"f": [1.0]}, {"g": [[1.0]]})
    with pytest.raises(InputError, match="one number a truth"):
        ranked({"f": [1.0, 2.0]}, {"f": [[1.0]]})
    with pytest.raises(InputError, match="as many draws"):
        ranks_by([1.0, 2.0], [[1.0] * 4, [1.0] * 5], lambda a, b: abs(a - b))
    found = ranks_of(x, y)
    with pytest.raises(InputError, match="too few simulations"):
        verdict(found, level=0.001, simulations=500)
    with pytest.raises(InputError, match="probability"):
        verdict(found, level=2)
    with pytest.raises(InputError, match="coordinate 0, coordinate 1"):
        coverage(found, "coordinate 7")
