"""One-step samplers on a product whose parts depend on each other, against its joint law.

Statistical tests are seeded; their thresholds have a false-alarm rate below 1e-5 each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from exact_pair import BETAS_OF_FOUR, ExactPair, Point, pair_kernel, pair_layout, worst

from unnoise.distributions import Dirac
from unnoise.errors import IncompatibleSampler
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    ProductKernel,
    SurvivalTable,
    Uniform,
    VPCosine,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Ancestral, Diffusion, Euler, Heun, ReverseDiffusion, grids
from unnoise.samplers.algebra import level, toward
from unnoise.spaces import Tokens

MASKED = pair_kernel(VPCosine(-8, 8), Absorbing(3))
UNIFORM = pair_kernel(Linear(1e-3), Uniform(Linear(1e-3)))


def sampled(sampler, denoiser, steps, n=2000, seed=0):
    layout, noise = pair_layout(n), NoiseSource(seed, range(n))
    x = denoiser.kernel.prior(layout).sample(noise)
    for step in sampler(
        Diffusion(denoiser, layout, noise), x, grids.uniform(denoiser.kernel, steps)
    ):
        x = step.x
    return x


@pytest.mark.parametrize("kernel", [MASKED, UNIFORM], ids=["masked", "uniform"])
@pytest.mark.parametrize(
    ("sampler", "steps"),
    [(DDIM(0.0), 60), (DDIM(0.4), 40), (DDIM(1.0), 40), (Euler(), 80), (ReverseDiffusion(), 80)],
    ids=repr,
)
def test_the_moments_are_those_of_the_joint_law(kernel, sampler, steps):
    x = sampled(sampler, ExactPair(kernel, together=False), steps)
    assert worst(x) < 5
    assert int(x["c"].max()) < 3


def test_parts_that_do_not_see_each_other_are_told_apart():
    kernel = MASKED

    class Alone(ExactPair):
        """Sees the real part, but other samples' tokens."""

        def forward(self, x_t, t, layout, condition=None):
            return super().forward({**x_t, "c": x_t["c"].roll(1)}, t, layout)

    assert worst(sampled(DDIM(0.0), Alone(kernel, together=False), 60)) > 8


def test_points_too():
    assert worst(sampled(DDIM(0.0), Point(ExactPair(MASKED, together=False)), 100)) < 5


def test_eta_of_one_is_ancestral_and_counts():
    model = ExactPair(MASKED, together=False)
    one, other = sampled(DDIM(1.0), model, 5, n=20), sampled(Ancestral(), model, 5, n=20)
    assert one["x"].equal(other["x"])
    assert one["c"].equal(other["c"])
    zero = sampled(DDIM(0.0), model, 5, n=20)
    assert not zero["x"].equal(one["x"])


def test_a_step_is_that_of_each_part():
    layout, t, s = pair_layout(4), 0.6, 0.4
    x = {"x": torch.linspace(-1, 1, 4, dtype=torch.float64), "c": torch.tensor([3, 3, 1, 3])}
    model = Point(ExactPair(MASKED, together=False))
    law = model(x, t, layout)
    grid = torch.tensor([t, s], dtype=torch.float64)
    (step,) = DDIM(0.0)(Diffusion(model, layout, NoiseSource(0, range(4))), x, grid)
    schedule = MASKED.parts["x"].schedule
    real = toward(x["x"], law.parts["x"].value, level(schedule, t), level(schedule, s))
    torch.testing.assert_close(step.x["x"], real)
    tokens = MASKED.parts["c"].reverse(x["c"], law.parts["c"], t, s, layout["c"])
    assert step.x["c"].equal(tokens.sample(NoiseSource(0, range(4))))


@pytest.mark.parametrize("sampler", [Ancestral(), DDIM(0.0), DDIM(1.0)], ids=repr)
def test_implicit_laws_in_four_steps(sampler):
    table = SurvivalTable((1, 0.8, 0.5, 0.2, 0.0))
    kernel = pair_kernel(BetaTable(BETAS_OF_FOUR), Absorbing(3, table))
    assert worst(sampled(sampler, ExactPair(kernel, together=True), 4, n=4000)) < 5


def test_a_frame_has_the_point_that_was_drawn():
    kernel = pair_kernel(VPCosine(), Absorbing(3))
    layout, noise = pair_layout(3), NoiseSource(0, range(3))
    x = kernel.prior(layout).sample(noise)
    run = Diffusion(ExactPair(kernel, together=True), layout, noise)
    for sampler in (Ancestral(), DDIM()):
        *_, last = sampler(run, x, grids.uniform(kernel, 3))
        assert isinstance(last.x0, Dirac)
        assert set(last.x0.mode) == {"x", "c"}


def test_who_is_refused():
    tokens = CategoricalKernel(Tokens(4), Absorbing(3))
    for kernel in (tokens, ProductKernel({"a": tokens, "b": tokens})):
        with pytest.raises(IncompatibleSampler, match=r"or a product with one.*Ancestral"):
            DDIM().check(kernel)
    with pytest.raises(
        IncompatibleSampler, match=r"Ancestral, DDIM, Euler, Restart, ReverseDiffusion"
    ):
        Heun().check(MASKED)
    real = GaussianKernel(MASKED.parts["x"].space, VPCosine())
    DDIM().check(ProductKernel({"a": real, "b": real}))
