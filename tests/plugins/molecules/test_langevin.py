"""GeoDiff's table and its Langevin dynamics, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.errors import ConfigError
from unnoise.kernels import VE, BetaTable, GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, grids
from unnoise.spaces import Layout, ZeroCoM, tensor
from unnoise.testing import GaussianOracle
from unnoise_molecules.langevin import Langevin, geodiff


def test_the_constants_of_the_table():
    table = geodiff()

    def rho(i: int) -> float:
        return table.sigma(i / 5000) / table.alpha(i / 5000)

    assert table.steps == 5000
    assert table.alpha(1.0) ** 2 == pytest.approx(0.0067082, abs=5e-8)
    assert rho(1) == pytest.approx(0.0022461, abs=5e-8)
    assert rho(5000) == pytest.approx(12.16846, abs=5e-6)
    # the steps are counted from 0 in the paper's code, from 1 here
    assert rho(2012) < 0.5 <= rho(2013)


@pytest.mark.parametrize("step", [0.0, -1.0])
def test_a_step_is_positive(step):
    with pytest.raises(ConfigError):
        Langevin(step)


@pytest.mark.parametrize("schedule", [geodiff(600), VE(0.01, 10.0)], ids=["table", "VE"])
@pytest.mark.parametrize("steps", [60, 600])
def test_the_variance_of_gaussian_data_follows_the_recursion(schedule, steps):
    v = 1.7
    kernel = GaussianKernel(ZeroCoM(), schedule)
    layout = Layout.dense(30, (301, 3), dtype=torch.float64)
    noise = NoiseSource(0, range(30))
    grid = grids.uniform(kernel, steps)
    x = kernel.prior(layout).sample(noise)
    *_, last = Langevin()(Diffusion(GaussianOracle(kernel, 0.0, v), layout, noise), x, grid)
    share = 0.01 * 5000 / steps
    expected = (schedule.sigma(1.0) / schedule.alpha(1.0)) ** 2
    for t in grid.tolist()[:-2]:
        rho = schedule.sigma(t) / schedule.alpha(t)
        pull = share * rho**2 / (v + rho**2)
        expected = (1 - pull) ** 2 * expected + 2 * share * rho**2
    t = grid.tolist()[-2]
    expected *= (v / (v + (schedule.sigma(t) / schedule.alpha(t)) ** 2)) ** 2
    numbers = 30 * 900  # 3 (n - 1) of each sample
    found = float(tensor(last.x).square().sum()) / numbers
    assert found == pytest.approx(expected, rel=4 * math.sqrt(2 / numbers))


@pytest.mark.parametrize(("slower", "excess"), [(1, 0.15), (10, 0.02)])
def test_annealing_of_unit_data_ends_with_its_variance_when_it_is_slow(slower, excess):
    # GeoDiff's own 5000 steps cool faster than the chain settles: 14 % too much variance is left
    table = geodiff()
    slow = BetaTable(tuple(1 - (1 - b) ** (1 / slower) for b in table.betas for _ in range(slower)))
    assert slow.alpha(1.0) == pytest.approx(table.alpha(1.0))
    found = 12.0**2
    for i in range(len(slow.betas), 0, -1):
        rho = slow.sigma(i / len(slow.betas)) / slow.alpha(i / len(slow.betas))
        found = (1 - 0.01 * rho**2 / (1 + rho**2)) ** 2 * found + 2 * 0.01 * rho**2
    assert 0.8 * excess < found - 1 < excess
