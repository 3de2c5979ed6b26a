"""Ratios of probabilities: exact by enumeration, and the score entropy that they minimise."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from token_chain import F

from unnoise.denoise import Masked, NetworkDenoiser, Ratio, entropy_rate, score_entropy
from unnoise.distributions import Categorical
from unnoise.errors import ConfigError
from unnoise.kernels import Absorbing, CategoricalKernel, Linear, RandomWalk, Uniform, VPCosine
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Simple
from unnoise.spaces import Layout, Tokens
from unnoise.testing import PmfOracle, all_states, expectation

PMF = torch.tensor([[0.3, 0.05, 0.1], [0.02, 0.25, 0.05], [0.1, 0.05, 0.08]], dtype=F)
KERNELS = {
    "absorbing": CategoricalKernel(Tokens(4), Absorbing(3)),
    "absorbing, cosine": CategoricalKernel(Tokens(4), Absorbing(3, VPCosine())),
    "uniform": CategoricalKernel(Tokens(3), Uniform(Linear(1e-3))),
}


def marginal(kernel, t) -> torch.Tensor:
    """p_t of every state (vocab,) * L, by enumeration."""
    clean, noisy = all_states(3, 2), all_states(kernel.space.vocab, 2)
    total = torch.zeros(len(noisy), dtype=F)
    for x0, p in zip(clean, PMF.flatten(), strict=True):
        x = x0.expand(len(noisy), 2)
        layout = Layout.dense(len(noisy), (2,), dtype=torch.int64)
        total += p * kernel.marginal(x, t, layout).log_prob(noisy).exp()
    return total.view((kernel.space.vocab,) * 2)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
def test_ratios_of_the_exact_law(name, t):
    kernel = KERNELS[name]
    p_t, vocab = marginal(kernel, t), kernel.space.vocab
    x = all_states(vocab, 2)
    x = x[p_t[x[:, 0], x[:, 1]] > 0]
    layout = Layout.dense(len(x), (2,), dtype=torch.int64)
    law = PmfOracle(kernel, PMF)(x, t, layout)
    ratio = Ratio()
    output = ratio.output(kernel, law, x, t, layout)
    s = ratio.log_ratios(kernel, output, x, t, layout).exp()
    for y in range(3):
        for i in range(2):
            other = x.clone()
            other[:, i] = y
            exact = p_t[other[:, 0], other[:, 1]] / p_t[x[:, 0], x[:, 1]]
            if name.startswith("absorbing"):  # visible tokens do not move
                exact = torch.where(x[:, i] == 3, exact, (x[:, i] == y).double())
            torch.testing.assert_close(s[:, i, y], exact)
    # and back
    again = ratio.law(kernel, output, x, t, layout)
    torch.testing.assert_close(again.log_probs.exp(), law.log_probs.exp(), rtol=1e-8, atol=1e-8)
    times = torch.full((len(x),), t, dtype=F)
    for a, b in (
        (ratio.output(kernel, law, x, times, layout), output),
        (ratio.law(kernel, output, x, times, layout).log_probs, again.log_probs),
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", KERNELS)
def test_any_output_has_a_law(name):
    # ratios that belong to no law: negative probabilities are raised to a floor, and normalised
    kernel, g = KERNELS[name], torch.Generator().manual_seed(0)
    layout = Layout.dense(200, (2,), dtype=torch.int64)
    x = torch.randint(kernel.space.vocab, (200, 2), generator=g)
    output = 4 * torch.randn(200, 2, kernel.space.vocab, generator=g)
    for t in (1e-6, 0.5, 1.0):
        law = Ratio().law(kernel, output, x, t, layout)
        assert law.log_probs.dtype == torch.float32
        p = law.log_probs.exp()
        torch.testing.assert_close(p.sum(-1), torch.ones(200, 2))
        if name == "uniform":
            assert law.log_probs.isfinite().all()
        else:
            seen = x != 3
            assert (p[..., 3] == 0).all()
            assert (p.gather(-1, x[..., None])[..., 0][seen] == 1).all()


def test_a_negative_probability_by_hand():
    # K = 2, alpha = 1/2, b = 1/4: s = (1, 1/9) is p_t = (.9, .1), below b: p_0 = (1.3, -.3)
    kernel = CategoricalKernel(Tokens(2), Uniform(Linear(1e-3)))
    t = 0.5 / (1 - 1e-3)
    out = torch.tensor([[[7.0, math.log(1 / 9)]]], dtype=F)  # that of x_t itself is ignored
    law = Ratio().law(kernel, out, torch.zeros(1, 1).long(), t, Layout.dense(1, (1,)))
    floor = 1e-9 / 2
    expected = floor * 0.25 / (floor * 0.25 + 1.3 * 0.75)
    assert law.log_probs[0, 0, 1].exp().item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("t", [0.1, 0.7])
def test_score_entropy_is_least_at_the_exact_ratios(name, t):
    # the expectation, by enumeration: its gradient in a table of outputs is 0 there, and
    # elsewhere it is larger
    kernel = KERNELS[name]
    vocab = kernel.space.vocab
    x = all_states(vocab, 2)
    layout = Layout.dense(len(x), (2,), dtype=torch.int64)
    exact = Ratio().output(kernel, PmfOracle(kernel, PMF)(x, t, layout), x, t, layout)
    exact = exact.nan_to_num(neginf=-50.0)

    def loss(table):
        def value(x0, x_t, layout):
            here = table[x_t[:, 0] * vocab + x_t[:, 1]]
            return score_entropy(kernel, here, x0, x_t, t, layout)

        return expectation(kernel, PMF, t, value)

    leaf = exact.clone().requires_grad_()
    least = loss(leaf)
    least.backward()
    assert leaf.grad.abs().max() < 1e-12
    assert least > 0.01
    g = torch.Generator().manual_seed(0)
    for scale in (0.01, 0.5):
        assert loss(exact + scale * torch.randn(exact.shape, generator=g, dtype=F)) > least + 1e-8
    assert loss(exact + 0.3) > least + 1e-3  # normalisation counts too


@pytest.mark.parametrize("t", [0.1, 0.6])
def test_score_entropy_by_hand(t):
    # the sum over y, written out
    kernel = KERNELS["uniform"]
    a = float(kernel.corruption.schedule.alpha(t))
    b = (1 - a) / 3
    out = torch.tensor([[[0.3, -1.0, 0.7], [0.2, 0.1, -0.4]]], dtype=F)
    x0, x_t = torch.tensor([[1, 2]]), torch.tensor([[1, 0]])
    expected = 0.0
    for i in range(2):
        x, clean = int(x_t[0, i]), int(x0[0, i])
        q = [a * (y == clean) + b for y in range(3)]
        for y in range(3):
            if y != x:
                r, log_s = q[y] / q[x], out[0, i, y].item()
                expected += (math.exp(log_s) - r * log_s + r * (math.log(r) - 1)) / 3
    found = score_entropy(kernel, out, x0, x_t, t, Layout.dense(1, (2,)))
    assert found.item() == pytest.approx(expected)


def test_for_masks_it_is_the_cross_entropy_of_a_normalised_output():
    kernel, layout = KERNELS["absorbing"], Layout.dense(5, (4,), dtype=torch.int64)
    g = torch.Generator().manual_seed(1)
    x0 = torch.randint(3, (5, 4), generator=g)
    x_t = torch.where(torch.rand(5, 4, generator=g) < 0.5, 3, x0)
    logits = torch.randn(5, 4, 4, generator=g, dtype=F)
    law = Masked(3).law(kernel, logits, x_t, 0.5, layout)
    output = Ratio().output(kernel, law, x_t, 0.5, layout)
    found = score_entropy(kernel, output, x0, x_t, 0.5, layout)
    torch.testing.assert_close(found, -law.log_prob(x0))
    t = torch.tensor([0.25], dtype=F)
    assert entropy_rate(kernel, t).item() == pytest.approx(4)
    assert entropy_rate(KERNELS["uniform"], t).item() == pytest.approx(0.999 / (1 - 0.999 * 0.25))


def test_a_network_of_ratios_is_trained():
    class Free(torch.nn.Module):
        def __init__(self, k):
            super().__init__()
            self.table = torch.nn.Parameter(torch.zeros(k, k))

        def forward(self, x, label, layout, condition):
            return self.table[x]

    for name in ("absorbing", "uniform"):
        kernel = KERNELS[name]
        model = NetworkDenoiser(Free(kernel.space.vocab), kernel, Ratio())
        layout = Layout.dense(8, (5,), dtype=torch.int64)
        x0 = torch.arange(40).view(8, 5) % 3
        loss = Simple()(model, Batch(x0, layout), NoiseSource(0, range(8)))
        assert loss.shape == (8,)
        loss.sum().backward()
        grad = model.network.table.grad
        assert grad.isfinite().all()
        assert grad.abs().sum() > 0
        law = model(x0, 0.5, layout)
        assert isinstance(law, Categorical)


def test_other_kernels_are_refused():
    for corruption, message in (
        (RandomWalk.bands(4), "Absorbing or Uniform"),
        (Uniform(Linear()), "alpha is 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            Ratio().check(CategoricalKernel(Tokens(4), corruption))
