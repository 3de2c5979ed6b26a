"""EDM's churn."""

from __future__ import annotations

import torch

from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.noise import NoiseSource
from unnoise.samplers import EDM, Diffusion, grids
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle, PointEstimate

F = torch.float64


class Impulses(NoiseSource):
    """Sample j gets the number 1 at draw j, all else 0: a linear run's response to its noise."""

    def __init__(self):
        super().__init__(0, [])
        self.draws = 0

    def normal(self, layout):
        z = torch.zeros(layout.shape, dtype=F)
        self.draws += 1
        z[self.draws] = 1
        return z


def final_variance(sampler, model, grid) -> float:
    """Of a sampler that is linear in state and noise, exactly."""
    layout = Layout.dense(len(grid) + 1, (), dtype=F)
    x = torch.zeros(len(grid) + 1, dtype=F)
    x[0] = model.kernel.schedule.sigma(1.0)
    *_, last = sampler(Diffusion(model, layout, Impulses()), x, grid)
    return float((last.x**2).sum())


def oracle(schedule, variance=0.25):
    return PointEstimate(GaussianOracle(GaussianKernel(Euclidean(), schedule), 0.0, variance))


def test_churn_keeps_the_marginal():
    # the draw back into the noise is exact, so that the error is Heun's, of second order
    model = oracle(VPLinear())
    for churn in (0.0, 20.0):
        gaps = [
            final_variance(EDM(churn=churn), model, grids.karras(model.kernel, n)) - 0.25
            for n in (80, 160, 320)
        ]
        assert gaps[2] < gaps[1] / 3 < gaps[0] / 9
        assert gaps[2] < 5e-4
