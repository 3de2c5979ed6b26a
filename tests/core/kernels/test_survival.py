"""Schedules of survival alone."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.errors import ConfigError
from unnoise.kernels import CosineSurvival, Linear, SurvivalTable, VPLinear

D = torch.float64


def test_the_cosine_ends_at_its_floor_exactly():
    assert CosineSurvival().alpha(1.0) == 0.0
    values = CosineSurvival().alpha(torch.tensor([0.0, 0.5, 1.0], dtype=D)).tolist()
    assert values == pytest.approx([1, math.sqrt(0.5), 0])
    assert values[-1] == 0.0
    assert CosineSurvival(0.2).alpha(1.0) == 0.2
    for wrong in (-0.1, 1.0, math.nan):
        with pytest.raises(ConfigError, match="survival at time 1"):
            CosineSurvival(wrong)


def test_a_table_is_linear_between_its_entries():
    table = SurvivalTable((1.0, 0.6, 0.5, 0.0))
    times = torch.tensor([0.0, 1 / 6, 1 / 3, 2 / 3, 1.0], dtype=D)
    assert table.alpha(times).tolist() == pytest.approx([1, 0.8, 0.6, 0.5, 0])
    assert [table.alpha(t) for t in times.tolist()] == pytest.approx([1, 0.8, 0.6, 0.5, 0])
    assert table.d_alpha(0.1) == pytest.approx(-1.2)
    assert table.d_alpha(times[1:2]).tolist() == pytest.approx([-1.2])
    assert (table.steps, SurvivalTable(table.values, discrete=False).steps) == (3, None)
    assert SurvivalTable.of(Linear(), [0, 0.5, 1]) == SurvivalTable((1.0, 0.5, 0.0))
    for values in ((1.0,), (1.0, 1.0), (0.9, 0.0), (1.0, -0.1), (1.0, math.nan)):
        with pytest.raises(ConfigError, match="falls from 1"):
            SurvivalTable(values)


@pytest.mark.parametrize("schedule", [CosineSurvival(0.01), SurvivalTable((1.0, 0.6, 0.5, 0.0))])
def test_slopes(schedule):
    t, h = 0.4, 1e-6
    slope = (schedule.alpha(t + h) - schedule.alpha(t - h)) / (2 * h)
    assert schedule.d_alpha(t) == pytest.approx(slope, rel=1e-5)
    assert schedule.d_sigma(t) == -schedule.d_alpha(t)
    assert schedule.sigma(t) == 1 - schedule.alpha(t)


@pytest.mark.parametrize(
    "schedule",
    [
        Linear(),
        Linear(0.1),
        CosineSurvival(),
        CosineSurvival(0.2),
        SurvivalTable((1.0, 0.9, 0.4, 0.1), discrete=False),
        SurvivalTable((1.0, 0.6, 0.5, 0.0)),
        VPLinear(),
    ],
    ids=repr,
)
def test_the_time_of_a_survival(schedule):
    times = torch.linspace(0.01, 1.0, 40, dtype=D)
    found = schedule.time_at(torch.as_tensor(schedule.alpha(times)))
    torch.testing.assert_close(found, times, atol=1e-7, rtol=0)
    late = schedule.time_at(torch.as_tensor(schedule.alpha(1.0), dtype=D) - 0.05)
    assert late.item() == pytest.approx(1)
