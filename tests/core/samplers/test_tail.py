"""Tokens of tiny probability are drawn as often as they should be: float64, to the tail."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from scipy import stats
from token_chain import ALARM, F

from unnoise.denoise import Denoiser, Tempered
from unnoise.distributions import Categorical, inverse_cdf
from unnoise.kernels import Absorbing, CategoricalKernel, Linear, Uniform
from unnoise.noise import NoiseSource
from unnoise.samplers import Ancestral, Cached, Confidence, Diffusion, FirstHitting, OrderAgnostic
from unnoise.spaces import Layout, Tokens

TAIL, EACH = 10, 1e-10  # ten tokens of this probability each, behind one that has the rest
TABLE = torch.tensor([1 - TAIL * EACH, *[EACH] * TAIL, 0.0], dtype=F).log()
MASK = TAIL + 1
# uniform numbers of the last 1e-9: 20 in the range of each tail token
TOP = 1 - TAIL * EACH * (1 - (torch.arange(20 * TAIL, dtype=F) + 0.5) / (20 * TAIL))


class Top(NoiseSource):
    """A source whose uniform numbers are all at the upper end."""

    def __init__(self):
        super().__init__(0, [0])

    def uniform(self, layout):
        assert layout.shape == (1, len(TOP))
        return TOP[None]


class Rare(Denoiser):
    def __init__(self, kernel, dtype):
        super().__init__()
        self.kernel, self.dtype = kernel, dtype

    def forward(self, x_t, t, layout, condition=None):
        return Categorical(TABLE.to(self.dtype).expand(*x_t.shape, -1), layout)


SAMPLERS = [Ancestral(), Cached(), FirstHitting(), Confidence(), OrderAgnostic()]
ABSORBING = CategoricalKernel(Tokens(MASK + 1), Absorbing(MASK))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("wrap", [lambda d: d, Tempered], ids=["plain", "tempered"])
def test_samplers_draw_from_the_tail(sampler, dtype, wrap):
    denoiser = wrap(Rare(ABSORBING, dtype))
    layout = Layout.dense(1, (len(TOP),), dtype=torch.int64)
    x, grid = torch.full(layout.shape, MASK), torch.tensor([1.0, 0.0], dtype=F)
    (step,) = sampler(Diffusion(denoiser, layout, Top()), x, grid)
    counts = torch.bincount(step.x[0], minlength=MASK + 1)
    assert ((counts[1:-1] - 20).abs() <= 1).all()  # each for its own numbers
    assert counts[0] <= 1


def test_a_float32_gumbel_never_draws_them():
    # the largest float32 Gumbel number on a tail token, the smallest on the head: still the head.
    # That such sampling cannot, and inverse_cdf can, is the point of float64.
    step = 2.0**-24
    highest, lowest = -math.log(-math.log(1 - step)), -math.log(-math.log(step))
    assert math.log(EACH) + highest < math.log(1 - TAIL * EACH) + lowest
    assert 1 - 0.5 * EACH != 1
    assert float(torch.tensor(1 - 0.5 * EACH, dtype=torch.float32)) == 1
    tokens = inverse_cdf(TABLE.expand(len(TOP), -1), TOP)
    assert set(tokens.tolist()) >= set(range(1, TAIL + 1))


def test_uniform_numbers_have_53_bits():
    u = NoiseSource(0, [0]).uniform(Layout.dense(1, (10_000,)))
    fine = (u * 2**53) % 2**29  # what a float32 number would not have
    assert (u < 1).all()
    assert torch.equal(u * 2**53, (u * 2**53).round())
    assert stats.kstest((fine / 2**29).flatten().numpy(), "uniform").pvalue > ALARM


def test_a_million_tokens_of_one_in_a_billion():
    # together 1e-3: 20,000 draws hit about 20 of them. Binomial, false alarm 1e-7
    k = 1_000_000
    log_p = torch.full((k + 1,), math.log(1e-9), dtype=F)
    log_p[0] = math.log1p(-k * 1e-9)
    n = 20
    u = NoiseSource(1, [0]).uniform(Layout.dense(1, (n,)))[0] / 50 + 0.98  # the last 2 %
    x = inverse_cdf(log_p.expand(n, -1), u)
    rare = x > 0
    assert torch.equal(rare, u >= 1 - 1e-3)
    expected = ((u[rare] - (1 - 1e-3)) / 1e-9).floor().long() + 1
    assert ((x[rare] - expected).abs() <= 1).all()
    assert stats.binomtest(int(rare.sum()), n, 0.05).pvalue > ALARM


def test_a_jump_of_the_uniform_kernel_reaches_the_tail():
    # q(x_t | x_0) after a tiny time: each other token has probability 1e-10
    kernel = CategoricalKernel(Tokens(TAIL + 1), Uniform(Linear()))
    layout = Layout.dense(1, (len(TOP),), dtype=torch.int64)
    t = EACH * (TAIL + 1)
    x = kernel.marginal(torch.zeros(layout.shape, dtype=torch.int64), t, layout)
    table = x.log_probs
    torch.testing.assert_close(table[0, 0, 1:].exp(), torch.full((TAIL,), EACH, dtype=F))
    counts = torch.bincount(inverse_cdf(table[0], TOP), minlength=TAIL + 1)
    assert ((counts[1:] - 20).abs() <= 1).all()
