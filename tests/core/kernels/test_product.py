"""A product kernel is its parts: every line of it, and nothing else."""

from __future__ import annotations

import pytest
import torch

from unnoise.distributions import Categorical, Dirac, Gaussian, Product
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Matrices,
    ProductKernel,
    Uniform,
    VPCosine,
    training_times,
)
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM

D = torch.float64
COUNTS = (3, 1, 4)
LAYOUT = Layout.product(
    {
        "x": Layout.ragged(COUNTS, (3,), dtype=D),
        "h": Layout.ragged(COUNTS, dtype=torch.int64),
        "y": Layout.dense(3, (2,), dtype=D),
    }
)
KERNEL = ProductKernel(
    {
        "x": GaussianKernel(ZeroCoM(), VPCosine()),
        "h": CategoricalKernel(Tokens(5), Absorbing(4)),
        "y": GaussianKernel(Euclidean(), BetaTable.linear(10, 0.01, 0.9)),
    }
)


def state(seed=0):
    g = torch.Generator().manual_seed(seed)
    x = {
        "x": torch.randn(8, 3, generator=g, dtype=D),
        "h": torch.randint(4, (8,), generator=g),
        "y": torch.randn(3, 2, generator=g, dtype=D),
    }
    return KERNEL.space.project(x, LAYOUT)


def law(seed=0):
    g = torch.Generator().manual_seed(seed)
    return Product(
        {
            "x": Gaussian(state(seed)["x"], 0.5, ZeroCoM(), LAYOUT["x"]),
            "h": Categorical(torch.randn(8, 5, generator=g, dtype=D).log_softmax(-1), LAYOUT["h"]),
            "y": Dirac(state(seed)["y"], LAYOUT["y"]),
        }
    )


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, Gaussian):
        assert a.mean.equal(b.mean)
        assert torch.as_tensor(a.std).equal(torch.as_tensor(b.std))
        assert a.layout is b.layout
    else:
        assert a.log_probs.equal(b.log_probs)
        assert a.layout is b.layout


@pytest.mark.parametrize(
    ("s", "t"),
    [
        (0.2, 0.7),
        (torch.tensor([0.1, 0.2, 0.9], dtype=D), torch.tensor([0.3, 0.7, 1.0], dtype=D)),
    ],
    ids=["one time", "a time per sample"],
)
def test_every_line_is_that_of_the_parts(s, t):
    x, x0 = state(), state(1)
    whole = {
        "marginal": KERNEL.marginal(x, t, LAYOUT),
        "transition": KERNEL.transition(x, s, t, LAYOUT),
        "reverse": KERNEL.reverse(x, law(), t, s, LAYOUT),
        "known": KERNEL.reverse(x, Dirac(x0, LAYOUT), t, s, LAYOUT),
        "reconstruction": KERNEL.reconstruction(x, law(), t, LAYOUT),
        "prior": KERNEL.prior(LAYOUT),
        "bridge": KERNEL.bridge(x, law(), t, s, LAYOUT, 0.3),
    }
    for name, kernel in KERNEL.parts.items():
        layout, part, p = LAYOUT[name], x[name], law().parts[name]
        expected = {
            "marginal": kernel.marginal(part, t, layout),
            "transition": kernel.transition(part, s, t, layout),
            "reverse": kernel.reverse(part, p, t, s, layout),
            "known": kernel.reverse(part, Dirac(x0[name], layout), t, s, layout),
            "reconstruction": kernel.reconstruction(part, p, t, layout),
            "prior": kernel.prior(layout),
            "bridge": kernel.bridge(part, p, t, s, layout, 0.3),
        }
        for line, one in expected.items():
            same(whole[line].parts[name], one)


def test_densities_add_and_samples_stay_in_their_spaces():
    x0 = state()
    marginal = KERNEL.marginal(x0, 0.5, LAYOUT)
    x = marginal.sample(NoiseSource(0, range(3)))
    KERNEL.space.validate(x, LAYOUT)
    total = sum(marginal.parts[n].log_prob(x[n]).double() for n in x)
    torch.testing.assert_close(marginal.log_prob(x), total)
    other = KERNEL.marginal(state(1), 0.5, LAYOUT)
    total = sum(marginal.parts[n].kl(other.parts[n]).double() for n in x)
    torch.testing.assert_close(marginal.kl(other), total)
    assert KERNEL.space.dim(LAYOUT).tolist() == [3 * (n - 1) + n + 2 for n in COUNTS]


def test_a_batch_is_its_samples():
    x0 = state()
    x = KERNEL.marginal(x0, 0.5, LAYOUT).sample(NoiseSource(0, [5, 6, 7]))
    for i, n in enumerate(COUNTS):
        rows = LAYOUT["h"].index == i
        one = Layout.product(
            {
                "x": Layout.ragged([n], (3,), dtype=D),
                "h": Layout.ragged([n], dtype=torch.int64),
                "y": Layout.dense(1, (2,), dtype=D),
            }
        )
        part = {"x": x0["x"][rows], "h": x0["h"][rows], "y": x0["y"][i : i + 1]}
        alone = KERNEL.marginal(part, 0.5, one).sample(NoiseSource(0, [5 + i]))
        torch.testing.assert_close(alone["x"], x["x"][rows], rtol=0, atol=1e-13)
        assert alone["h"].equal(x["h"][rows])
        assert alone["y"].equal(x["y"][i : i + 1])


def test_one_clock():
    assert KERNEL.steps == 10
    matrices = CategoricalKernel(Tokens(2), Matrices(torch.full((4, 2, 2), 0.5)))
    assert ProductKernel({"a": matrices, "b": KERNEL.parts["x"]}).steps == 4
    assert ProductKernel({"b": KERNEL.parts["x"]}).steps is None
    with pytest.raises(ConfigError, match=r"one clock.*'a': 4.*'y': 10"):
        ProductKernel({"a": matrices, "y": KERNEL.parts["y"]})


def test_training_times():
    """Discrete kernels are trained at every i / T, 1 <= i <= T, all equally often."""
    u = (torch.arange(10_000, dtype=D)) / 10_000  # contains 0, never 1
    t = training_times(KERNEL, u)
    steps, counts = (t * 10).round().long().unique(return_counts=True)
    torch.testing.assert_close(t * 10, (t * 10).round(), rtol=0, atol=1e-12)
    assert steps.tolist() == list(range(1, 11))
    assert counts.float().std() <= 2
    continuous = CategoricalKernel(Tokens(2), Uniform())
    assert training_times(continuous, u).min() > 0
    assert training_times(continuous, u).max() == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: KERNEL.marginal(x["x"], 0.5, LAYOUT), "one tensor per part.*Tensor"),
        (lambda x: KERNEL.marginal({"x": x["x"]}, 0.5, LAYOUT), r"\['x'\].*\['h', 'x', 'y'\]"),
        (lambda x: KERNEL.reverse(x, law().parts["x"], 0.5, 0.2, LAYOUT), "Product.*Gaussian"),
        (lambda x: KERNEL.reverse(x, Product({"x": Dirac(x["x"])}), 0.5, 0.2, LAYOUT), "its parts"),
        (
            lambda x: KERNEL.reverse(x, Dirac({"x": x["x"]}), 0.5, 0.2, LAYOUT),
            "one tensor per part",
        ),
        (lambda x: KERNEL.marginal(x, 0.5, LAYOUT["x"]), "no such part"),
        (lambda x: KERNEL.transition(x, 0.5, 0.2, LAYOUT), "order"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words):
        call(state())
