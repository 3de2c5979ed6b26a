"""PNDM: how often it evaluates."""

from __future__ import annotations

import pytest
import torch

from unnoise.denoise import Denoiser
from unnoise.kernels import (
    GaussianKernel,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    PNDM,
    Diffusion,
    Pseudo,
    grids,
)
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import MixtureOracle, PointEstimate

F = torch.float64


class Counted(Denoiser):
    """A denoiser that notes the times at which it is called."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.kernel, self.times = inner, inner.kernel, []

    def forward(self, x_t, t, layout, condition=None):
        self.times.append(t)
        return self.inner(x_t, t, layout, condition)


def mixture(schedule=None):
    kernel = GaussianKernel(Euclidean(), schedule or VPLinear())
    parts = ([0.4, 0.6], [-1.0, 1.0], [0.3, 0.3])
    return PointEstimate(MixtureOracle(kernel, *(torch.tensor(v, dtype=F) for v in parts)))


def run(sampler, model, grid, ids=range(4), shape=(2,)):
    layout, noise = Layout.dense(len(ids), shape, dtype=F), NoiseSource(3, ids)
    x = model.kernel.prior(layout).sample(noise)
    return list(sampler(Diffusion(model, layout, noise), x, grid))


@pytest.mark.parametrize("pseudo", Pseudo)
def test_evaluations_of_pndm_down_to_zero(pseudo):
    # every start but one that would end at sigma = 0 is made in full
    for n in range(1, 31):
        model = Counted(mixture())
        run(PNDM(pseudo), model, grids.uniform(model.kernel, n))
        full = n + (9 if pseudo is Pseudo.F else 1)
        short = {1: 1, 2: 5, 3: 9} if pseudo is Pseudo.F else {1: 1}
        assert len(model.times) == short.get(n, full)
