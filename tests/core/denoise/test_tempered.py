"""Temperature and nucleus, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.denoise import Denoiser, Tempered
from unnoise.distributions import Categorical, Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import Absorbing, CategoricalKernel, GaussianKernel, Uniform, VPLinear
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import GaussianOracle, PmfOracle

F = torch.float64
LAYOUT = Layout.dense(1, (1,), dtype=torch.int64)


class Fixed(Denoiser):
    def __init__(self, law, corruption):
        super().__init__()
        self.kernel = CategoricalKernel(Tokens(law.log_probs.shape[-1]), corruption)
        self.fixed = law

    def forward(self, x_t, t, layout, condition=None):
        return self.fixed


def tempered(p, temperature=1.0, top_p=1.0, corruption=None, dtype=F) -> torch.Tensor:
    table = torch.as_tensor(p, dtype=F).log().to(dtype).view(1, 1, -1)
    fixed = Fixed(Categorical(table, LAYOUT), corruption or Uniform())
    law = Tempered(fixed, temperature, top_p)(torch.zeros(1, 1, dtype=torch.int64), 0.5, LAYOUT)
    assert law.log_probs.dtype == dtype
    return law.log_probs[0, 0].exp()


@pytest.mark.parametrize("temperature", [0.3, 0.5, 1.0, 2.0])
def test_temperature_is_a_power(temperature):
    p = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=F)
    expected = p ** (1 / temperature)
    torch.testing.assert_close(tempered(p, temperature), expected / expected.sum())


@pytest.mark.parametrize(
    ("top_p", "kept"), [(1.0, 4), (0.96, 4), (0.9, 3), (0.8, 2), (0.51, 2), (0.5, 1), (1e-9, 1)]
)
def test_nucleus_is_the_smallest_set_that_holds_top_p(top_p, kept):
    p = torch.tensor([0.125, 0.5, 0.0625, 0.3125], dtype=F)  # exact in binary
    order = p.argsort(descending=True)[:kept]
    expected = torch.zeros(4, dtype=F)
    expected[order] = p[order] / p[order].sum()
    torch.testing.assert_close(tempered(p, 1.0, top_p), expected)


def test_temperature_comes_before_the_nucleus():
    p = torch.tensor([0.6, 0.3, 0.1], dtype=F)  # squared and normalised: .783, .196, .022
    assert (tempered(p, 0.5, 0.75) > 0).tolist() == [True, False, False]
    assert (tempered(p, 1.0, 0.75) > 0).tolist() == [True, True, False]


def test_float32_laws_are_worked_on_in_float64():
    # a nucleus over a million tokens: float32 sums would end in the wrong place
    k = 1_000_000
    p = torch.arange(1, k + 1, dtype=F)
    p = p / p.sum()
    kept = tempered(p, 1.0, 0.9, dtype=torch.float32) > 0
    stored = p.log().float().double().exp()
    ordered = (stored / stored.sum()).flip(0)
    expected = int((ordered.cumsum(0) - ordered < 0.9).sum())
    assert abs(int(kept.sum()) - expected) <= 64  # ties of neighbours in float32
    assert kept[-1]
    assert not kept[0]


def test_points_stay_and_the_mask_has_no_probability():
    table = torch.tensor(
        [[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]], dtype=F
    ).log()[None]
    layout = Layout.dense(1, (4,), dtype=torch.int64)
    fixed = Fixed(Categorical(table, layout), Absorbing(2))
    x = torch.tensor([[2, 1, 2, 2]])
    for temperature, top_p in ((1.0, 1.0), (0.25, 0.9), (3.0, 0.999)):
        law = Tempered(fixed, temperature, top_p)(x, 0.5, layout)
        assert torch.equal(law.log_probs[0, 1:3], table[0, 1:3])
        assert (law.log_probs[0, [0, 3], 2] == -math.inf).all()
        torch.testing.assert_close(law.log_probs.exp().sum(-1), torch.ones(1, 4, dtype=F))
        assert law.sample(NoiseSource(0, [0]))[0, 0] != 2


def test_at_one_it_is_the_law_itself():
    pmf = torch.tensor([[0.4, 0.1], [0.2, 0.3]], dtype=F)
    oracle = PmfOracle(CategoricalKernel(Tokens(3), Absorbing(2)), pmf)
    x, layout = torch.tensor([[2, 2], [0, 2]]), Layout.dense(2, (2,), dtype=torch.int64)
    torch.testing.assert_close(
        Tempered(oracle)(x, 0.5, layout).log_probs, oracle(x, 0.5, layout).log_probs
    )


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_temperatures_out_of_range(temperature):
    with pytest.raises(ConfigError, match="temperature"):
        tempered([0.5, 0.5], temperature)


@pytest.mark.parametrize("top_p", [0.0, -0.1, 1.1, math.nan])
def test_top_p_out_of_range(top_p):
    with pytest.raises(ConfigError, match="top_p"):
        tempered([0.5, 0.5], 1.0, top_p)


def test_other_kernels_and_laws_are_refused():
    with pytest.raises(ConfigError, match="CategoricalKernel"):
        Tempered(GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 1.0))
    fixed = Fixed(Categorical(torch.zeros(1, 1, 2), LAYOUT), Uniform())
    fixed.fixed = Dirac(torch.zeros(1, 1, dtype=torch.int64))
    with pytest.raises(ConfigError, match="Categorical law"):
        Tempered(fixed)(torch.zeros(1, 1, dtype=torch.int64), 0.5, LAYOUT)
