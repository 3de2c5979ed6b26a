"""p-values of items beside held-out ones: exact levels, and both sides."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.calibration import conformal, flagged, typicality
from unnoise.errors import InputError, NonFiniteError

FALSE_ALARM = 1e-6


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_formula_by_hand():
    p = conformal(torch.tensor([0.0, 2.0, 2.5, 9.0]), torch.tensor([1.0, 2.0, 3.0]))
    assert p.tolist() == [1.0, 0.75, 0.5, 0.25]
    mean = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]])
    p, score = typicality(torch.tensor([[2.0], [100.0]]), mean)
    assert p.tolist() == [1.0, 1 / 6]  # the centre, and further off than all
    assert score[0] < 0.1
    # sizes of the six numbers, by hand: (100 - m)^2 / var = 5 of n + 1 = 6 with one far away
    assert score[1] == pytest.approx(5, rel=0.01)


@pytest.mark.parametrize("terms", [1, 5])
@pytest.mark.parametrize("skewed", [False, True])
def test_the_level_is_exact(terms, skewed):
    """Fresh held-out rows for each item: P(p <= a) = a for a a multiple of 1 / (n + 1)."""
    trials, n = 500, 39
    rows = normal(trials, n + 1, terms, seed=terms).cumsum(2)
    rows = rows.exp() if skewed else rows
    p = torch.cat([typicality(one[:1], one[1:])[0] for one in rows])
    for level in (0.05, 0.2, 0.5):
        allowed = math.sqrt(math.log(2 / FALSE_ALARM) / (2 * trials))
        share = float((p <= level + 1e-9).double().mean())
        assert share <= level + allowed
        assert share >= level - allowed - 2 / (n + 1)  # ties of the two kinds of score


def test_too_simple_and_too_strange_are_both_found():
    usual = normal(400, 4).square().sum(1, keepdim=True)  # skewed
    high = torch.tensor([[1e-4], [40.0], [3.4]])
    p, _ = typicality(high, usual)
    assert bool((p[:2] < 0.02).all())
    assert p[2] > 0.3
    one_sided = conformal(high[:, 0], usual[:, 0])
    assert one_sided[0] > 0.98  # a likelihood alone calls it the most usual


def test_numbers_that_do_not_go_with_each_other_are_found():
    x = normal(400, 1)
    usual = torch.cat([x, x + 0.05 * normal(400, 1, seed=1)], 1)
    odd = torch.tensor([[1.0, -1.0]])
    assert float(typicality(odd, usual)[0]) < 0.01
    assert all(float(typicality(odd[:, [k]], usual[:, [k]])[0]) > 0.2 for k in (0, 1))


def test_columns_that_do_not_vary_say_nothing():
    usual = normal(100, 2)
    usual[:, 1] = 3.0
    same, other = torch.tensor([[0.1, 3.0]]), torch.tensor([[0.1, 4.0]])
    assert float(typicality(same, usual)[0]) > 0.5
    assert float(typicality(other, usual)[0]) < 0.02
    assert float(typicality(same[:, 1:], usual[:, 1:])[0]) == 1.0
    assert typicality(usual[:0], usual)[0].shape == (0,)


def test_what_is_wrong_is_said():
    usual = normal(19, 2)
    with pytest.raises(InputError, match=r">= 20 items"):
        flagged(torch.ones(1), 18, 0.0499)
    assert flagged(torch.tensor([0.05, 0.1]), 19, 0.05).tolist() == [True, False]
    for level in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(InputError, match="probability"):
            flagged(torch.ones(1), 100, level)
    with pytest.raises(InputError, match=">= 20 for 5 terms"):
        typicality(normal(1, 5), normal(19, 5))
    with pytest.raises(InputError, match="as many numbers"):
        typicality(normal(1, 3), usual)
    with pytest.raises(InputError, match="beside others"):
        conformal(torch.zeros(1), torch.zeros(0))
    for bad in (math.nan, math.inf):
        with pytest.raises(NonFiniteError):
            typicality(torch.tensor([[0.0, bad]]), usual)
        with pytest.raises(NonFiniteError):
            typicality(usual, torch.cat([usual, torch.tensor([[0.0, bad]])]))
