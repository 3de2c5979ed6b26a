"""The mutual information of a token with its data, and the schedule that spends it evenly."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    Absorbing,
    Linear,
    Matrices,
    RandomWalk,
    Uniform,
    VPCosine,
    information_times,
    mutual_information,
)

D = torch.float64
P0 = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=D)
MASKED = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=D)
ENTROPY = -(P0 * P0.log()).sum().item()


def test_mutual_information():
    # a mask shows x_0 with probability alpha_t, or nothing
    entropy = -sum(p * math.log(p) for p in (0.5, 0.3, 0.2))
    for t in (0.0, 0.3, 0.9):
        assert mutual_information(Absorbing(3), MASKED, t) == pytest.approx((1 - t) * entropy)
    # a binary symmetric channel with flips f = (1 - alpha) / 2
    flip = 0.35
    expected = math.log(2) + flip * math.log(flip) + (1 - flip) * math.log(1 - flip)
    half = torch.tensor([0.5, 0.5])
    assert mutual_information(Uniform(), half, 0.7) == pytest.approx(expected, rel=1e-12)
    assert mutual_information(Uniform(), P0, 0.0) == pytest.approx(ENTROPY, rel=1e-12)
    assert mutual_information(Uniform(), P0, 1.0) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("schedule", [Linear(), Linear(1e-3), VPCosine()])
def test_absorbing_has_the_rate_one_over_what_is_left(schedule):
    """beta_i = 1 / (T - i + 1), whatever the schedule."""
    steps = 12
    times = information_times(Absorbing(3, schedule), MASKED, steps)
    alpha = schedule.alpha(times)
    rates = 1 - alpha[1:] / alpha[:-1]
    expected = 1 / (steps - torch.arange(1, steps + 1, dtype=D) + 1)
    torch.testing.assert_close(rates[:-1], expected[:-1], rtol=1e-8, atol=0)
    assert rates[-1] == pytest.approx(1, abs=2e-2)  # the schedule's own end


@pytest.mark.parametrize("corruption", [Uniform(), RandomWalk.bands(4), RandomWalk.bands(4, 3)])
def test_every_step_destroys_the_same_information(corruption):
    steps = 8
    times = information_times(corruption, P0, steps)
    assert times[0] == 0
    assert times[-1] == 1
    assert (times.diff() > 0).all()
    left = [mutual_information(corruption, P0, t) / ENTROPY for t in times.tolist()]
    expected = [1 - i / steps for i in range(steps + 1)]
    assert left == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: information_times(Uniform(), P0, 0), InputError, "steps.*got 0"),
        (lambda: information_times(Uniform(Linear(0.9)), P0, 10), ConfigError, "too much"),
        (lambda: mutual_information(Uniform(), P0 * 2, 0.5), InputError, "sum to 1"),
        (lambda: mutual_information(Uniform(), -P0, 0.5), InputError, "probabilities"),
        (lambda: mutual_information(RandomWalk.bands(5), P0, 0.5), ConfigError, "size"),
        (
            lambda: information_times(Matrices(torch.full((2, 4, 4), 0.25)), P0, 3),
            InputError,
            "own steps",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
