"""The bound of a product, part by part, against closed forms.

Statistical tests are seeded; their thresholds have a false-alarm rate below 1e-6 each.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from exact_pair import ExactPair, M, P, S, pair_kernel, pair_layout

from unnoise.codecs import Affine, Identity, ProductCodec
from unnoise.denoise import Denoiser
from unnoise.distributions import Product, inverse_cdf
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Absorbing, Linear, Uniform, VPCosine
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    Batch,
    Categories,
    Continuous,
    ProductData,
    Quantised,
    bits_per_dimension,
    bound,
    data_bound,
    data_of_parts,
)
from unnoise.samplers import Diffusion
from unnoise.spaces import Layout
from unnoise.testing import GaussianOracle, PmfOracle

D = torch.float64
H_C = float(-(P * P.log()).sum())  # 1.0297 nats
MASKED = pair_kernel(VPCosine(-12, 12), Absorbing(3))


class Apart(Denoiser):
    """Parts that know nothing of each other: x ~ N(0.3, 0.25), c ~ P."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel
        self.x = GaussianOracle(kernel.parts["x"], 0.3, 0.25)
        self.c = PmfOracle(kernel.parts["c"], P)

    def forward(self, x_t, t, layout, condition=None):
        c = self.c(x_t["c"][:, None], t, Layout.dense(layout.batch, (1,), dtype=torch.int64))
        tokens = type(c)(c.log_probs[:, 0], layout["c"])
        return Product({"x": self.x(x_t["x"], t, layout["x"]), "c": tokens})


def independent(n):
    g = torch.Generator().manual_seed(0)
    x = 0.3 + 0.5 * torch.randn(n, generator=g, dtype=D)
    return {"x": x, "c": inverse_cdf(P.log().expand(n, 3), torch.rand(n, generator=g, dtype=D))}


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
@pytest.mark.parametrize("data", [None, Continuous(), "each"])
def test_independent_parts_have_their_entropies(steps, data):
    n, layout = 2000, pair_layout(2000)
    kind = ProductData({"x": Continuous(), "c": Categories()}) if data == "each" else data
    x0 = independent(n)
    run = Diffusion(Apart(MASKED), layout, NoiseSource(0, range(n)))
    found = bound(run, x0, steps=steps, data=kind)
    assert set(found.parts) == {"x", "c"}
    # the law of x is Gaussian at every step: a chain of any length is exact, for each x_0
    truth = torch.distributions.Normal(0.3, 0.5).log_prob(x0["x"])
    spread = float((found.parts["x"].total + truth).std()) / n**0.5
    assert abs(float((found.parts["x"].total + truth).mean())) < 5 * spread + 1e-4
    error = float(found.parts["c"].total.std()) / n**0.5
    seen = -P.log()[x0["c"]].mean()
    assert abs(float(found.parts["c"].total.mean() - seen)) < 5 * error
    for term in ("prior", "steps", "reconstruction", "total"):
        parts = sum(getattr(part, term).double() for part in found.parts.values())
        torch.testing.assert_close(getattr(found, term).double(), parts)
    assert found.parts["x"].measure == "density"
    assert found.parts["c"].measure == "probability"
    assert found.measure == "density and probability"
    assert found.parts["c"].evaluations == found.evaluations


def test_a_part_is_the_bound_of_that_part_alone():
    """The same terms at the same times, with a noise of its own."""
    n, layout = 4000, pair_layout(4000)
    x0 = independent(n)
    model = Apart(MASKED)
    whole = bound(Diffusion(model, layout, NoiseSource(0, range(n))), x0, steps=20)
    alone = bound(Diffusion(model.x, layout["x"], NoiseSource(1, range(n))), x0["x"], steps=20)
    difference = whole.parts["x"].total - alone.total
    assert abs(float(difference.mean())) < 5 * float(difference.std()) / n**0.5
    assert alone.parts == {}
    assert alone.measure == "density"


@pytest.mark.parametrize(
    "kernel", [MASKED, pair_kernel(Linear(1e-4), Uniform(Linear(1e-4)))], ids=["masked", "uniform"]
)
def test_dependent_parts_add_up_to_the_joint_entropy(kernel):
    """H(x, c) = H(c) + E H(N(M_c, S_c^2)), as the chain becomes long."""
    n, layout = 3000, pair_layout(3000)
    g = torch.Generator().manual_seed(1)
    c = inverse_cdf(P.log().expand(n, 3), torch.rand(n, generator=g, dtype=D))
    x = M[c] + S[c] * torch.randn(n, generator=g, dtype=D)
    run = Diffusion(ExactPair(kernel, together=False), layout, NoiseSource(0, range(n)))
    found = bound(run, {"x": x, "c": c}, steps=1000, evaluations=60)
    truth = P.log()[c] + torch.distributions.Normal(M[c], S[c]).log_prob(x)
    gap = found.total + truth
    assert abs(float(gap.mean())) < 5 * float(gap.std()) / n**0.5 + 0.01
    # the joint law is worth more than the two parts without each other
    alone = H_C + 0.5 * math.log(2 * math.pi * math.e * float((P * (M**2 + S**2)).sum()))
    assert float(found.total.mean()) < alone - 0.2


def test_parts_are_in_the_units_of_the_data():
    """x = (y - 3) / 0.2 is what is diffused: the density of y is that of x times 5."""
    n, layout = 50, pair_layout(50)
    x0, model = independent(n), Apart(MASKED)
    data = {"x": 3 + 0.2 * x0["x"], "c": x0["c"]}
    codec = ProductCodec({"x": Affine(mean=3.0, scale=0.2), "c": Identity()})
    kind = ProductData({"x": Continuous(), "c": Categories()})

    def measured(x, codec):
        noise = NoiseSource(0, range(n))
        return data_bound(model, codec, Batch(x, layout), noise, data=kind, steps=10)

    plain, coded = measured(x0, Identity()), measured(data, codec)
    torch.testing.assert_close(coded.parts["c"].total, plain.parts["c"].total)
    shifted = plain.parts["x"].total + math.log(0.2)
    torch.testing.assert_close(coded.parts["x"].total, shifted, rtol=1e-6, atol=1e-5)
    total = sum(part.total for part in coded.parts.values())
    torch.testing.assert_close(coded.total, total)
    assert measured(data, codec).measure == "density and probability"


def test_levels_of_a_part():
    kernel, n = MASKED, 200
    layout, x0 = pair_layout(n), independent(n)
    x0["x"] = ((x0["x"].clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    run = Diffusion(Apart(kernel), layout, NoiseSource(0, range(n)))
    kind = ProductData({"x": Quantised(), "c": Categories()})
    found = bound(run, x0, steps=50, evaluations=10, data=kind)
    assert found.measure == "probability"
    assert found.parts["x"].measure == "probability"
    x = x0["x"]
    bits = bits_per_dimension(
        found.parts["x"].total, Quantised(), x, kernel.parts["x"].space, layout["x"]
    )
    assert 4 < float(bits.mean()) < 9  # about 7 bits of 8, of a std of 64 levels
    with pytest.raises(InputError, match="levels"):
        bound(run, independent(n), steps=50, evaluations=2, data=kind)


def test_data_types_of_parts():
    space, n = MASKED.space, 3
    layout, x0 = pair_layout(n), independent(n)
    kind = ProductData({"x": Continuous(0.5), "c": Categories()})
    change = kind.change(space, layout)
    torch.testing.assert_close(change, torch.full((n,), math.log(0.5), dtype=D))
    kind.check(x0, layout)
    with pytest.raises(InputError, match="whole numbers"):
        kind.check({"x": x0["x"], "c": x0["x"]}, layout)
    law = Apart(MASKED)(x0, 0.5, layout)
    torch.testing.assert_close(kind.log_prob(law, x0, layout), law.log_prob(x0))
    assert data_of_parts(kind, space) == kind.parts
    assert data_of_parts(Quantised(), space) == {"x": Quantised(), "c": Categories()}
    with pytest.raises(ConfigError, match=r"\['x'\].*\['c', 'x'\]"):
        data_of_parts(ProductData({"x": Continuous()}), space)
    with pytest.raises(InputError, match="no common unit"):
        bits_per_dimension(torch.zeros(n), kind, x0, space, layout)
    with pytest.raises(InputError, match="probabilities, not a density"):
        kind.prepare(x0, space, layout, NoiseSource(0, range(n)))
