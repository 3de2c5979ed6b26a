"""Gaussian kernels: end points, times of each sample, batches, precision, bad input."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from unnoise.distributions import Categorical, Dirac, Gaussian
from unnoise.errors import InputError
from unnoise.kernels import (
    VE,
    BetaTable,
    GaussianKernel,
    Linear,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, ZeroCoM

sys.path.insert(0, str(Path(__file__).parent))
from gaussian_kernels import (
    COUNTS,
    FLOATS,
    MASK,
    PLACES,
    D,
    clocks,
    close,
    path,
    places,
    schedules,
    state,
)


@schedules
@places
def test_end_points(schedule, place):
    space, layout = PLACES[place]
    kernel = GaussianKernel(space, schedule)
    source = NoiseSource(0, range(3))
    x0 = state(space, layout, 0)
    for t in (0.0, torch.zeros(3, dtype=D)):
        assert kernel.marginal(x0, t, layout).sample(source).equal(x0)
    x_t = state(space, layout, 1)
    for t, s in ((0.5, 0.0), (torch.full((3,), 0.5, dtype=D), torch.zeros(3, dtype=D))):
        back = kernel.reverse(x_t, Dirac(x0), t, s, layout).sample(source)
        assert back.equal(x0)
    # at 1 what is left of the data is alpha_1 x_0, exactly: the prior differs by that shift
    prior = kernel.prior(layout)
    assert prior.mean.eq(0).all()
    assert prior.std == schedule.sigma(1.0)
    left = (schedule.alpha(1.0) / schedule.sigma(1.0)) ** 2 * layout.sum(x0**2) / 2
    close(kernel.marginal(x0, 1.0, layout).kl(prior), left, 1e-12)
    drawn = prior.sample(source)
    close(space.project(drawn, layout), drawn, 1e-13)


def test_prior_terms():
    layout = Layout.dense(1, (3, 4), dtype=D)
    kernel = GaussianKernel(Euclidean(), BetaTable.linear())
    for square, bits in ((1.0, 2.911e-5), (0.25, 7.28e-6)):
        x0 = torch.full((1, 3, 4), square**0.5, dtype=D)
        nats = kernel.marginal(x0, 1.0, layout).kl(kernel.prior(layout)).item()
        assert nats / 12 / math.log(2) == pytest.approx(bits, abs=5e-9)
    assert GaussianKernel(Euclidean(), VE()).prior(layout).std == pytest.approx(50, rel=1e-14)


@schedules
@places
def test_one_time_for_all_is_the_same_time_for_each(schedule, place):
    space, layout = PLACES[place]
    kernel = GaussianKernel(space, schedule)
    x0, x_s, x_t = path(kernel, layout, FLOATS)
    s, t, _ = FLOATS
    s_each, t_each = (torch.full((3,), v, dtype=D) for v in (s, t))
    spread = Gaussian(x0, 0.3, space, layout)
    laws = [
        (kernel.marginal(x0, t, layout), kernel.marginal(x0, t_each, layout)),
        (kernel.transition(x_s, s, t, layout), kernel.transition(x_s, s_each, t_each, layout)),
        (kernel.transition(x_s, s, t, layout), kernel.transition(x_s, s, t_each, layout)),
        (
            kernel.reverse(x_t, Dirac(x0), t, s, layout),
            kernel.reverse(x_t, Dirac(x0), t_each, s_each, layout),
        ),
        (
            kernel.reverse(x_t, spread, t, s, layout),
            kernel.reverse(x_t, spread, t_each, s, layout),
        ),
        (
            kernel.reconstruction(x_t, Dirac(x0), t, layout),
            kernel.reconstruction(x_t, Dirac(x0), t_each, layout),
        ),
    ]
    for one, each in laws:
        assert isinstance(one.std, float)
        assert each.std.shape == (3,)
        close(one.mean, each.mean, 1e-13)
        close(torch.full_like(each.std, one.std), each.std, 1e-13)
        draws = [law.sample(NoiseSource(1, range(3))) for law in (one, each)]
        close(*draws, 1e-13)
        close(one.log_prob(x_s), each.log_prob(x_s), 1e-11)
        close(one.kl(each), torch.zeros(3, dtype=D), 1e-11)


@clocks
@pytest.mark.parametrize("space", [Euclidean(), ZeroCoM()])
@pytest.mark.parametrize("kind", ["ragged", "padded"])
def test_a_batch_is_its_samples(clock, space, kind):
    kernel = GaussianKernel(space, VPCosine())
    layout = {
        "ragged": Layout.ragged(COUNTS, (3,), dtype=D),
        "padded": Layout.dense(3, (5, 3), mask=MASK, dtype=D),
    }[kind]
    x0, x_s, x_t = path(kernel, layout, clock)
    s, t, _ = clock

    def cut(x, i):
        return x[layout.index == i] if kind == "ragged" else x[i, : COUNTS[i]]

    for i, n in enumerate(COUNTS):
        one = Layout.ragged([n], (3,), dtype=D)
        s_i, t_i = (float(v[i]) if isinstance(v, torch.Tensor) else v for v in (s, t))
        a0, a_s, a_t = (cut(x, i) for x in (x0, x_s, x_t))
        pairs = [
            (kernel.marginal(x0, t, layout), kernel.marginal(a0, t_i, one)),
            (kernel.transition(x_s, s, t, layout), kernel.transition(a_s, s_i, t_i, one)),
            (
                kernel.reverse(x_t, Dirac(x0), t, s, layout),
                kernel.reverse(a_t, Dirac(a0), t_i, s_i, one),
            ),
        ]
        for together, alone in pairs:
            draw = cut(together.sample(NoiseSource(4, [8, 9, 10])), i)
            close(draw, alone.sample(NoiseSource(4, [8 + i])), 1e-13)
            close(together.log_prob(x_s)[i], alone.log_prob(a_s)[0], 1e-11)
    close(path(kernel, layout, clock)[2], space.project(x_t, layout), 1e-13)


def test_reconstruction():
    kernel, layout = GaussianKernel(Euclidean(), VPLinear()), Layout.dense(2, (3,), dtype=D)
    x = torch.zeros(2, 3, dtype=D)
    law = kernel.reconstruction(x, Dirac(x + 1), 0.01, layout)
    assert law.mean.eq(1).all()
    assert law.std == pytest.approx(VPLinear().sigma(0.01) / VPLinear().alpha(0.01))
    own = Gaussian(x, 0.2)
    assert kernel.reconstruction(x, own, 0.01, layout) is own
    flow = GaussianKernel(Euclidean(), Linear())
    for t in (1.0, torch.tensor([0.5, 1.0], dtype=D)):
        with pytest.raises(InputError, match=r"nothing of x_0 is left.*more than one step"):
            flow.reconstruction(x, Dirac(x), t, layout)


def test_float32_states_keep_float64_coefficients():
    kernel = GaussianKernel(Euclidean(), VPCosine())
    layout, wide = Layout.dense(3, (4,)), Layout.dense(3, (4,), dtype=D)
    x0, x_t = (state(Euclidean(), wide, s) for s in (0, 1))
    t, s = torch.tensor([1e-3, 0.5, 1.0], dtype=D), torch.tensor([5e-4, 0.4, 0.9], dtype=D)
    law = kernel.reverse(x_t.float(), Dirac(x0.float()), t, s, layout)
    exact = kernel.reverse(x_t, Dirac(x0), t, s, wide)
    assert law.mean.dtype == law.sample(NoiseSource(0, range(3))).dtype == torch.float32
    torch.testing.assert_close(law.mean.double(), exact.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(law.std, exact.std, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda k, x, m: k.marginal(x, 1.5, m), r"outside.*1\.5.*0 <= t <= 1"),
        (lambda k, x, m: k.marginal(x, -0.1, m), "outside"),
        (lambda k, x, m: k.marginal(x, math.nan, m), "outside.*nan"),
        (lambda k, x, m: k.marginal(x, torch.tensor([0.1, 1.1], dtype=D), m), "outside"),
        (lambda k, x, m: k.transition(x, 0.5, 0.2, m), r"order.*\(0\.5, 0\.2\).*s < t"),
        (lambda k, x, m: k.transition(x, 0.5, torch.tensor([0.6, 0.2], dtype=D), m), "order"),
        (lambda k, x, m: k.reverse(x, Dirac(x), 0.2, 0.5, m), "order"),
        (lambda k, x, m: k.reverse(x, Dirac(x), 0.0, 0.0, m), "order"),
        (lambda k, x, m: k.marginal({"x": x}, 0.5, m), "one tensor.*dict"),
        (
            lambda k, x, m: k.reverse(x, Categorical(torch.zeros(2, 3, 1)), 0.5, 0.2, m),
            "Dirac or Gaussian.*Categorical",
        ),
        (
            lambda k, x, m: k.reconstruction(x, Categorical(torch.zeros(2, 3, 1)), 0.5, m),
            "Dirac or Gaussian.*Categorical",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words):
        call(
            GaussianKernel(Euclidean(), VPLinear()),
            torch.zeros(2, 3, dtype=D),
            Layout.dense(2, (3,), dtype=D),
        )
