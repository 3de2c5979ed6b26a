"""EDM's churn."""

from __future__ import annotations

import torch

from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.samplers import EDM, grids
from unnoise.spaces import Euclidean
from unnoise.testing import GaussianOracle, PointEstimate

F = torch.float64


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
