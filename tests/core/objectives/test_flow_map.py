"""Flow maps of a Gaussian: in 1, 2 and 4 evaluations their closed form ends where the flow ends,
and the loss that trains them is least there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from adversarial import Together
from flow_map import KERNEL, SAMPLES, VARIANCE, Exact, consistency, drawn, gaussian, spread

from unnoise.distributions import Dirac
from unnoise.objectives import Batch
from unnoise.spaces import Layout
from unnoise.testing.oracles import GaussianOracle, PointEstimate

TEACHER = PointEstimate(GaussianOracle(KERNEL, 0.0, VARIANCE))


class Off(Exact):
    """The closed form, and something more."""

    def forward(self, x_t, t, layout, condition=None):
        return Dirac(1.05 * super().forward(x_t, t, layout).mean, layout)


@pytest.mark.parametrize("segments", [1, 2, 4])
def test_the_closed_form_ends_where_the_flow_ends(segments):
    noise = torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(9))
    end = noise * spread(0.0) / spread(1.0)
    torch.testing.assert_close(drawn(Exact(segments), segments), end, rtol=0, atol=1e-4)
    assert float((drawn(TEACHER, segments) - end).square().mean().sqrt()) > 0.1


@pytest.mark.parametrize("segments", [1, 2, 4])
def test_the_loss_is_least_at_the_closed_form(segments):
    """The teacher's short steps are of first order: what is left shrinks with their square."""
    n = 4000
    batch, loss = Batch(gaussian(n, 1), Layout.dense(n, (2,))), consistency(TEACHER, segments)

    def value(denoiser, done):
        return float(loss(denoiser, batch, Together(3, n), done).mean())

    coarse, fine = value(Exact(segments), 0.0), value(Exact(segments), 1.0)
    assert fine < coarse / 20
    assert fine < value(Off(segments), 1.0) / 10
