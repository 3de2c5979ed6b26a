"""Laws known by their samples: chains of four large steps that need several modes at each.

Statistical tests are seeded; their thresholds have a false-alarm rate below 1e-6 each.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from scipy import stats

from unnoise.denoise import Denoiser
from unnoise.distributions import Categorical, Dirac, Gaussian, Implicit, Product, inverse_cdf
from unnoise.errors import InputError
from unnoise.kernels import Absorbing, BetaTable, CategoricalKernel, GaussianKernel, Uniform
from unnoise.kernels.survival import SurvivalTable
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import MixtureOracle

sys.path.insert(0, str(Path(__file__).parents[1]))
from exact_pair import BETAS_OF_FOUR, ExactPair, normal_cdf, pair_kernel, pair_layout, worst

D = torch.float64
KERNEL = GaussianKernel(Euclidean(), BetaTable(BETAS_OF_FOUR))
W = torch.tensor([0.3, 0.7], dtype=D)
M = torch.tensor([-1.0, 1.0], dtype=D)
STD = 0.3
TIMES = [1.0, 0.75, 0.5, 0.25, 0.0]


class Generator(Denoiser):
    """Draws from the exact p(x_0 | x_t) of the mixture W, M, STD, known by its samples alone."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def forward(self, x_t, t, layout, condition=None):
        alpha, sigma = self.kernel.schedule.alpha(t), self.kernel.schedule.sigma(t)
        total = alpha**2 * STD**2 + sigma**2
        y = x_t[:, None] - alpha * M
        log_w = (W.log() - y**2 / total / 2).log_softmax(-1)
        means = M + alpha * STD**2 / total * y

        def draw(noise):
            k = inverse_cdf(log_w, noise.uniform(layout))
            z = noise.normal(layout)
            return means.gather(1, k[:, None])[:, 0] + STD * sigma / total**0.5 * z

        return Implicit(draw, layout)


def walked(denoiser, step, layout, seed=0):
    """From the prior to 0 in four steps of `step(x, law, t, s)`."""
    noise = NoiseSource(seed, range(layout.batch))
    x = denoiser.kernel.prior(layout).sample(noise)
    for t, s in pairwise(TIMES):
        x = step(x, denoiser(x, t, layout), t, s).sample(noise)
    return x


def distance(x):
    """The Kolmogorov-Smirnov p-value of samples against the mixture."""
    cdf = lambda v: (W * normal_cdf((torch.as_tensor(v)[:, None] - M) / STD)).sum(1).numpy()  # noqa: E731
    return stats.kstest(x.numpy(), cdf).pvalue


@pytest.mark.parametrize("eta", [1.0, 0.5, 0.0])
def test_four_steps_reproduce_a_mixture(eta):
    layout = Layout.dense(4000, dtype=D)
    step = lambda x, law, t, s: KERNEL.bridge(x, law, t, s, layout, eta)  # noqa: E731
    assert distance(walked(Generator(KERNEL), step, layout)) > 1e-6


def test_reverse_is_the_bridge_of_eta_1():
    layout, x = Layout.dense(50, dtype=D), torch.linspace(-2, 2, 50, dtype=D)
    law = Generator(KERNEL)(x, 0.75, layout)
    a = KERNEL.reverse(x, law, 0.75, 0.5, layout).sample(NoiseSource(3, range(50)))
    b = KERNEL.bridge(x, law, 0.75, 0.5, layout, 1.0).sample(NoiseSource(3, range(50)))
    assert a.equal(b)
    noise = NoiseSource(3, range(50))
    point = Dirac(law.sample(noise), layout)
    assert a.equal(KERNEL.reverse(x, point, 0.75, 0.5, layout).sample(noise))


def test_a_unimodal_law_with_the_exact_moments_fails():
    layout = Layout.dense(4000, dtype=D)
    oracle = MixtureOracle(KERNEL, W, M, torch.full((2,), STD))
    step = lambda x, law, t, s: KERNEL.reverse(x, law, t, s, layout)  # noqa: E731
    assert distance(walked(oracle, step, layout)) < 1e-6


PMF = torch.tensor([[0.4, 0.05], [0.05, 0.5]], dtype=D)  # of two tokens


class Pairs(Denoiser):
    """Draws of two tokens together from the exact p(x_0 | x_t)."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def forward(self, x_t, t, layout, condition=None):
        k = self.kernel.space.vocab
        log_q = self.kernel.marginal(torch.arange(k), t, Layout.dense(k, dtype=torch.int64))
        q = log_q.log_probs.exp()[:2]
        joint = PMF * q[:, x_t[:, 0]].mT[:, :, None] * q[:, x_t[:, 1]].mT[:, None, :]
        one = Layout.dense(layout.batch)

        def draw(noise):
            cell = inverse_cdf(joint.flatten(1).log(), noise.uniform(one))
            return torch.stack([cell // 2, cell % 2], 1)

        return Implicit(draw, layout)


@pytest.mark.parametrize(
    ("vocab", "corruption"),
    [
        (3, Absorbing(2, SurvivalTable((1, 0.75, 0.5, 0.25, 0.0)))),
        (2, Uniform(SurvivalTable((1, 0.7, 0.4, 0.2, 0.001)))),
    ],
    ids=["absorbing", "uniform"],
)
def test_tokens_that_depend_on_each_other(vocab, corruption):
    kernel = CategoricalKernel(Tokens(vocab), corruption)
    layout = Layout.dense(4000, (2,), dtype=torch.int64)
    step = lambda x, law, t, s: kernel.reverse(x, law, t, s, layout)  # noqa: E731
    x = walked(Pairs(kernel), step, layout)
    seen = torch.bincount(2 * x[:, 0] + x[:, 1], minlength=4).double()
    assert len(seen) == 4  # no mask is left
    assert stats.chisquare(seen.numpy(), 4000 * PMF.flatten().numpy()).pvalue > 1e-6


def test_parts_that_depend_on_each_other():
    kernel = pair_kernel(
        BetaTable(BETAS_OF_FOUR), Absorbing(3, SurvivalTable((1, 0.8, 0.5, 0.2, 0.0)))
    )
    layout = pair_layout(4000)
    step = lambda x, law, t, s: kernel.reverse(x, law, t, s, layout)  # noqa: E731
    assert worst(walked(ExactPair(kernel, together=True), step, layout)) < 5
    assert worst(walked(ExactPair(kernel, together=False), step, layout)) > 8


def test_a_part_alone_may_be_implicit():
    kernel = pair_kernel(BetaTable(BETAS_OF_FOUR), Absorbing(3))
    layout = pair_layout(3)
    x = {"x": torch.tensor([0.1, 0.2, 0.3], dtype=D), "c": torch.tensor([3, 3, 1])}
    tokens = Categorical(torch.full((3, 4), 0.25, dtype=D).log(), layout["c"])
    real = Implicit(lambda noise: noise.normal(layout["x"]), layout["x"])
    law = kernel.reverse(x, Product({"x": real, "c": tokens}), 0.75, 0.5, layout)
    assert isinstance(law, Product)
    assert isinstance(law.parts["x"], Implicit)
    assert isinstance(law.parts["c"], Categorical)
    known = Product({"x": real, "c": tokens}).explicit(NoiseSource(1, range(3)))
    assert known.parts["x"].value.equal(NoiseSource(1, range(3)).normal(layout["x"]))
    assert known.parts["c"] is tokens


def test_samples_do_not_depend_on_their_batch():
    layout, one = Layout.dense(3, dtype=D), Layout.dense(1, dtype=D)
    x = torch.tensor([0.5, -0.2, 1.0], dtype=D)
    many = KERNEL.reverse(x, Generator(KERNEL)(x, 0.5, layout), 0.5, 0.25, layout)
    alone = KERNEL.reverse(x[2:], Generator(KERNEL)(x[2:], 0.5, one), 0.5, 0.25, one)
    drawn = many.sample(NoiseSource(5, [7, 8, 9]))[2:]
    torch.testing.assert_close(drawn, alone.sample(NoiseSource(5, [9])))


@pytest.mark.parametrize(
    "ask",
    [
        lambda law: law.mean,
        lambda law: law.mode,
        lambda law: law.log_prob(torch.zeros(2)),
        lambda law: law.kl(law),
        lambda law: law.entropy(),
        lambda law: Dirac(torch.zeros(2)).kl(law),
        lambda law: Gaussian(torch.zeros(2)).kl(law),
        lambda law: Categorical(torch.zeros(2, 1)).kl(law),
        lambda law: KERNEL.reconstruction(torch.zeros(2), law, 0.25, Layout.dense(2)),
    ],
)
def test_what_is_unknown_is_refused(ask):
    with pytest.raises(InputError, match=r"implicit law|Implicit"):
        ask(Implicit(lambda noise: torch.zeros(2), Layout.dense(2)))
