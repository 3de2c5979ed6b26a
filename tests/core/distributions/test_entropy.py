"""Entropies against scipy, closed forms and -E log p."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian, Product
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, ZeroCoM

D = torch.float64
COUNTS = (3, 1, 2)
MASK = torch.arange(4)[None] < torch.tensor(COUNTS)[:, None]


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["dense", "padded", "ragged"])
@pytest.mark.parametrize("kind", ["shared", "per sample", "elementwise"])
def test_gaussian_is_scipys(name, kind):
    layout = {
        "dense": Layout.dense(3, (4, 2), dtype=D),
        "padded": Layout.dense(3, (4, 2), mask=MASK, dtype=D),
        "ragged": Layout.ragged(COUNTS, (2,), dtype=D),
    }[name]
    g = torch.Generator().manual_seed(0)
    each = torch.randn(layout.shape, generator=g, dtype=D).exp()
    std = {"shared": 0.7, "per sample": torch.tensor([0.3, 1.1, 2.5], dtype=D)}.get(kind, each)
    like = torch.empty(layout.shape, dtype=D)
    wide = each if kind == "elementwise" else layout.expand(std, like)
    terms = torch.as_tensor(stats.norm(0, torch.as_tensor(wide, dtype=D)).entropy()).expand(
        layout.shape
    )
    law = Gaussian(torch.zeros(layout.shape, dtype=D), std, Euclidean(), layout)
    close(law.entropy(), layout.sum(terms.to(D)))
    # of n points: 4 each where nothing is padding
    if kind == "shared":
        n = [4, 4, 4] if name == "dense" else COUNTS
        one = 0.5 * math.log(2 * math.pi * math.e * 0.49)
        close(law.entropy(), torch.tensor([2 * one * k for k in n], dtype=D))


def test_without_centre_of_mass_there_are_fewer_dimensions():
    layout = Layout.ragged([3, 5], (2,), dtype=D)
    law = Gaussian(torch.zeros(8, 2, dtype=D), 0.5, ZeroCoM(), layout)
    one = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    close(law.entropy(), torch.tensor([4 * one, 8 * one], dtype=D))


def test_it_is_the_mean_of_minus_log_p():
    n = 20000
    law = Gaussian(torch.zeros(n, 3, dtype=D), 0.2)
    surprise = -law.log_prob(law.sample(NoiseSource(0, range(n))))
    assert abs(float((surprise - law.entropy()).mean())) < 5 * float(surprise.std()) / n**0.5


def test_categorical_is_scipys():
    layout = Layout.dense(2, (3,), mask=torch.tensor([[1, 1, 0], [1, 1, 1]]) > 0, dtype=torch.int64)
    g = torch.Generator().manual_seed(1)
    p = torch.randn(2, 3, 5, generator=g, dtype=D).softmax(-1)
    p[0, 0] = torch.tensor([1.0, 0, 0, 0, 0])  # 0 log 0 is 0
    p[1, 1] = torch.tensor([0.5, 0, 0, 0.5, 0])
    expected = torch.as_tensor(stats.entropy(p.numpy(), axis=-1))
    close(Categorical(p.log(), layout).entropy(), layout.sum(expected))
    close(Categorical(p.log(), layout).entropy()[0], expected[0, 1])
    uniform = Categorical.from_logits(torch.zeros(4, 2, 8, dtype=D))
    close(uniform.entropy(), torch.full((4,), 2 * math.log(8), dtype=D))


def test_a_point_has_none_or_minus_infinity():
    assert Dirac(torch.tensor([[1, 2], [3, 4]])).entropy().tolist() == [0, 0]
    assert Dirac(torch.zeros(2, 3)).entropy().tolist() == [-math.inf, -math.inf]
    layout = Layout.ragged([2, 1], (3,))
    assert Dirac(torch.zeros(3, 3), layout).entropy().shape == (2,)
    assert Dirac({"x": torch.zeros(2, 3), "c": torch.zeros(2).long()}).entropy().isneginf().all()


def test_products_add():
    x = Gaussian(torch.zeros(2, 3), 0.5)
    c = Categorical.from_logits(torch.zeros(2, 4, dtype=D))
    close(Product({"x": x, "c": c}).entropy(), x.entropy() + math.log(4))


def test_a_gaussian_of_no_width_has_none():
    with pytest.raises(InputError, match="std is positive"):
        Gaussian(torch.zeros(2, 3), 0.0).entropy()


def test_a_law_need_not_have_one():
    class Own(Distribution):
        mean = mode = torch.zeros(1)

        def sample(self, noise):
            return self.mean

        def log_prob(self, x):
            return x

        def kl(self, other):
            return self.mean

    with pytest.raises(InputError, match=r"closed form.*Own"):
        Own().entropy()
