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
    UniPC,
    grids,
)
from unnoise.samplers.algebra import Level
from unnoise.samplers.pndm import _rows
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


def test_pndm_is_of_second_order_on_steps_that_are_not_equal():
    model = mixture()
    fine = run(UniPC(3), model, grids.log_snr(model.kernel, 1000))[-1].x
    gaps = [
        float((run(PNDM(), model, grids.quadratic(model.kernel, n))[-1].x - fine).abs().max())
        for n in (40, 80, 160)
    ]
    assert gaps[1] < gaps[0] / 3
    assert gaps[2] < gaps[1] / 3


def test_pndm_has_the_classical_coefficients_on_equal_steps():
    pairs = [
        (Level(t, 1.0, t, 0.0), Level(t - 0.1, 1.0, t - 0.1, 0.0)) for t in (0.9, 0.8, 0.7, 0.6)
    ]
    *_, last = _rows(Pseudo.F, VPLinear(), tuple(pairs))
    assert last == pytest.approx((1.0, *(-0.1 * w / 24 for w in (55, -59, 37, -9))))
