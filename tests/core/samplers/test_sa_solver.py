"""SA-Solver where it is exact."""

from __future__ import annotations

import torch

from unnoise.kernels import (
    GaussianKernel,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    Diffusion,
    SASolver,
    grids,
)
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import MixtureOracle, PointEstimate

F = torch.float64


def mixture(schedule=None):
    kernel = GaussianKernel(Euclidean(), schedule or VPLinear())
    parts = ([0.4, 0.6], [-1.0, 1.0], [0.3, 0.3])
    return PointEstimate(MixtureOracle(kernel, *(torch.tensor(v, dtype=F) for v in parts)))


def test_sa_solver_at_tau_one_with_one_prediction_is_ancestral():
    # the reverse SDE with x_0 fixed is solved exactly: Bayes' posterior
    model = mixture()
    kernel = model.kernel
    layout = Layout.dense(1, (2,), dtype=F)
    x = torch.tensor([[0.4, -0.2]], dtype=F)
    for t, s in ((1.0, 0.8), (0.5, 0.45), (0.3, 0.1)):
        law = kernel.reverse(x, model(x, t, layout), t, s, layout)
        noise = NoiseSource(7, [0])
        z = NoiseSource(7, [0]).normal(layout)
        step = next(SASolver(1.0, 1, 0)(Diffusion(model, layout, noise), x, grids.custom([t, s])))
        torch.testing.assert_close(step.x, law.mean + law.std * z, rtol=1e-10, atol=1e-12)
