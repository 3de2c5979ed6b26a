"""The statistics of what is hidden in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from unnoise.errors import InputError
from unnoise_timeseries import masks


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def observed() -> torch.Tensor:
    return torch.rand(20, 5) < 0.8


def test_targets_are_observed_and_there_is_one(observed):
    other = torch.rand(20, 5) < 0.7
    for strategy in ("random", "historical", "mix", "block", "any", "forecasting"):
        for _ in range(100):
            target = masks.targets(strategy, observed, other, 5)
            assert target.any()
            assert not (target & ~observed).any()


def test_the_share_of_random_targets_is_uniform(observed):
    count = int(observed.sum())
    shares = np.array([int(masks.random(observed).sum()) / count for _ in range(3000)])
    assert stats.kstest(shares, "uniform").statistic < 0.03
    each = torch.stack([masks.random(observed) for _ in range(3000)]).float().mean(0)[observed]
    assert each.min() > 0.44
    assert each.max() < 0.56


def test_historical_targets_are_the_holes_of_the_other_window(observed):
    other = torch.rand(20, 5) < 0.7
    assert torch.equal(masks.historical(observed, other), observed & ~other)
    alone = masks.historical(observed, observed)  # no holes of its own: random
    assert alone.any()


def test_another_window_is_any_other_and_never_the_same():
    for index in (0, 3, 9):
        drawn = np.array([masks.another(index, 10) for _ in range(9000)])
        counts = np.bincount(drawn, minlength=10)
        assert counts[index] == 0
        assert stats.chisquare(np.delete(counts, index)).pvalue > 1e-4
    assert masks.another(0, 1) == 0


def test_mix_is_a_coin(observed):
    other = observed.clone()
    other[:2] = False
    expected = observed & ~other
    hits = sum(torch.equal(masks.mix(observed, other), expected) for _ in range(2000))
    assert 0.46 < hits / 2000 < 0.54


def test_a_block_is_a_run_of_rows():
    full = torch.ones(20, 5, dtype=torch.bool)
    lengths = []
    for _ in range(2000):
        target = masks.block(full)
        columns = target.any(0)
        rows = target.any(1).nonzero().flatten()
        assert torch.equal(rows, torch.arange(rows[0], rows[-1] + 1))
        assert target[rows[0] : rows[-1] + 1, columns].all()
        lengths.append(len(rows))
    counts = np.bincount(lengths, minlength=21)[1:]
    assert stats.chisquare(counts).pvalue > 1e-4


def test_forecasting_hides_the_end(observed):
    target = masks.forecasting(observed, 6)
    assert torch.equal(target[-6:], observed[-6:])
    assert not target[:-6].any()


def test_nothing_to_hide():
    with pytest.raises(InputError, match="without any observed"):
        masks.random(torch.zeros(3, 2, dtype=torch.bool))
