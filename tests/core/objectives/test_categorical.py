"""Objectives of tokens with a continuous clock: H of the chain, the uniform kernel's bound."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from scipy.integrate import quad

sys.path.insert(0, str(Path(__file__).parents[1]))
from token_chain import F

from unnoise.denoise import (
    Logits,
    Masked,
    NetworkDenoiser,
    Ratio,
    entropy_rate,
    score_entropy,
)
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    Linear,
    RandomWalk,
    Schedule,
    Uniform,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    Batch,
    MaskedDiffusion,
    OrderAgnosticLoss,
    ScoreEntropy,
    bound,
    continuous_bound,
    loss_curve,
)
from unnoise.samplers import Diffusion
from unnoise.spaces import Layout, Tokens
from unnoise.testing import PmfOracle, expectation


@dataclass(frozen=True)
class Square(Schedule):
    """alpha = (1 - t)^2."""

    steps = None

    def alpha(self, t):
        return (1 - t) ** 2

    def sigma(self, t):
        return 1 - self.alpha(t)

    def d_alpha(self, t):
        return -2 * (1 - t)

    def d_sigma(self, t):
        return 2 * (1 - t)


FLIP = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=F)
CHAIN = FLIP / 2
H = 1.0182302
ONE = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=F)
ABSORBING = PmfOracle(CategoricalKernel(Tokens(3), Absorbing(2)), CHAIN)
SQUARE = PmfOracle(CategoricalKernel(Tokens(3), Absorbing(2, Square())), CHAIN)
UNIFORM = PmfOracle(CategoricalKernel(Tokens(4), Uniform(Linear(0.001))), ONE)
PAIR = PmfOracle(CategoricalKernel(Tokens(2), Uniform(Linear(0.001))), CHAIN)


def batch_of(pmf, n, seed=0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    flat = torch.multinomial(pmf.flatten(), n, replacement=True, generator=g)
    x0 = torch.stack(torch.unravel_index(flat, pmf.shape), -1)
    return Batch(x0, Layout.dense(n, (pmf.ndim,), dtype=torch.int64))


def rate(oracle, pmf, t) -> float:
    """d/dt of the bound, by enumeration."""
    kernel = oracle.kernel

    def value(x0, x_t, layout):
        output = Ratio().output(kernel, oracle(x_t, t, layout), x_t, t, layout)
        return score_entropy(kernel, output, x0, x_t, t, layout)

    here = expectation(kernel, pmf, t, value)
    return float(entropy_rate(kernel, torch.tensor([t], dtype=F))[0] * here)


def prior(oracle, pmf) -> float:
    kernel = oracle.kernel

    def value(x0, x_t, layout):
        return kernel.marginal(x0, 1.0, layout).kl(kernel.prior(layout))

    return float(expectation(kernel, pmf, 1.0, value))


@pytest.mark.parametrize(
    ("oracle", "pmf", "expected"),
    [(ABSORBING, CHAIN, H), (SQUARE, CHAIN, H), (UNIFORM, ONE, 1.142120273)],
    ids=["absorbing", "square", "uniform"],
)
def test_infinitely_many_steps_by_enumeration(oracle, pmf, expected):
    # entropy, and what the prior does not know
    found, _ = quad(lambda t: rate(oracle, pmf, t), 0, 1, epsabs=1e-9, epsrel=1e-9, limit=200)
    assert found + prior(oracle, pmf) == pytest.approx(expected, abs=1e-7)


def test_score_entropy_is_the_difference_of_bounds():
    # one token: E KL of the step from t to s is I(x_0; x_s) - I(x_0; x_t), however it is cut
    kernel, s, t = UNIFORM.kernel, 0.3, 0.55

    def step(x0, x_t, layout):
        p = kernel.reverse(x_t, UNIFORM(x_t, t, layout), t, s, layout)
        return kernel.reverse(x_t, Dirac(x0, layout), t, s, layout).kl(p)

    expected = float(expectation(kernel, ONE, t, step))
    found, _ = quad(lambda v: rate(UNIFORM, ONE, v), s, t, epsabs=1e-10)
    assert found == pytest.approx(expected, abs=1e-8)
    assert expected > 0.05


def test_two_tokens_under_the_uniform_kernel():
    # H(x_0) + KL(q_1 || prior) for any number of tokens when the steps are infinitely small
    found, _ = quad(lambda t: rate(PAIR, CHAIN, t), 0, 1, epsabs=1e-8, limit=200)
    q = torch.full((2, 2), (1 - 1e-3) / 2, dtype=F) + torch.eye(2, dtype=F) * 1e-3
    end = q.T @ CHAIN @ q
    expected = H + float((end * (end * 4).log()).sum())
    assert found + prior(PAIR, CHAIN) == pytest.approx(expected, abs=1e-6)


N = 4000


@pytest.mark.parametrize(
    ("objective", "oracle", "pmf", "expected"),
    [
        (MaskedDiffusion(), ABSORBING, CHAIN, H),
        (MaskedDiffusion(), SQUARE, CHAIN, H),
        (OrderAgnosticLoss(), ABSORBING, CHAIN, H),
        (OrderAgnosticLoss(), SQUARE, CHAIN, H),
        (ScoreEntropy(), ABSORBING, CHAIN, H),
        (ScoreEntropy(), UNIFORM, ONE, 1.142120273),
    ],
)
def test_objectives_by_monte_carlo(objective, oracle, pmf, expected):
    # nats per token; within 5 standard errors over 4,000 sequences, false alarm 6e-7 each (times
    # are spread evenly, which makes the errors smaller than those of independent draws)
    batch = batch_of(pmf, N)
    loss = objective(oracle, batch, NoiseSource(1, range(N)))
    assert loss.shape == (N,)
    length = pmf.ndim
    error = loss.std().item() / math.sqrt(N)
    assert error < 0.2
    expected = (expected - prior(oracle, pmf)) / length
    assert abs(loss.mean().item() - expected) < 5 * error


@pytest.mark.parametrize(
    ("oracle", "pmf", "expected"),
    [(ABSORBING, CHAIN, H), (SQUARE, CHAIN, H), (UNIFORM, ONE, 1.142120273)],
    ids=["absorbing", "square", "uniform"],
)
def test_continuous_bound(oracle, pmf, expected):
    # within 5 standard errors over 1,000 sequences: false alarm 6e-7
    batch = batch_of(pmf, 1000, seed=3)
    noise = NoiseSource(2, range(1000))
    found = continuous_bound(Diffusion(oracle, batch.layout, noise), batch.x0, evaluations=8)
    assert found.evaluations == 8
    assert (found.reconstruction == 0).all()
    error = found.total.std().item() / math.sqrt(1000)
    assert error < 0.1
    assert abs(found.total.mean().item() - expected) < 5 * error
    # it is the limit of the chain's, and knows its own error
    x0, layout = batch.x0[:20], Layout.dense(20, (pmf.ndim,), dtype=torch.int64)
    fine = continuous_bound(
        Diffusion(oracle, layout, NoiseSource(0, range(20))), x0, evaluations=200
    )
    chain = bound(Diffusion(oracle, layout, NoiseSource(0, range(20))), x0, steps=200)
    spread = (fine.standard_error**2 + chain.standard_error**2).sum().sqrt() / 20
    gap = fine.total.mean() - chain.total.mean()
    assert abs(gap.item()) < 5 * spread.item() + 0.02
    one = continuous_bound(Diffusion(oracle, layout, NoiseSource(0, range(20))), x0, evaluations=1)
    assert one.standard_error.isinf().all()


def test_loss_curve_of_the_chain():
    # 20 pairs in the proportions of the pmf: H(x_1) = ln 2, then H(x_2 | x_1), without error
    x0 = torch.tensor([[0, 0]] * 9 + [[0, 1], [1, 0]] + [[1, 1]] * 9)
    batch = Batch(x0, Layout.dense(20, (2,), dtype=torch.int64))
    curve = loss_curve(ABSORBING, batch, NoiseSource(0, range(20)))
    assert curve.tolist() == pytest.approx([math.log(2), H - math.log(2)], abs=1e-7)
    three = FLIP[:, :, None] * FLIP / 2
    oracle = PmfOracle(CategoricalKernel(Tokens(3), Absorbing(2)), three)
    many = batch_of(three, 2000)
    full = loss_curve(oracle, many, NoiseSource(0, range(2000)))
    part = loss_curve(oracle, many, NoiseSource(0, range(2000)), evaluations=2)
    assert abs(full.sum().item() - 1.3433131) < 0.06
    assert (full.diff() < 0).all()
    assert part[0] == full[0]
    assert part[1] == pytest.approx((part[0] + part[2]).item() / 2)
    ragged = Batch(torch.zeros(5, dtype=torch.int64), Layout.ragged([2, 3], dtype=torch.int64))
    with pytest.raises(InputError, match="one size"):
        loss_curve(oracle, ragged, NoiseSource(0, range(2)))
    with pytest.raises(InputError, match="evaluations"):
        loss_curve(oracle, many, NoiseSource(0, range(2000)), evaluations=1)


class Table(torch.nn.Module):
    """Logits of each token and its place's parity; sees no time."""

    def __init__(self, k):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.table = torch.nn.Parameter(torch.randn(k, k, generator=g))

    def forward(self, x, label, layout, condition):
        return self.table[x]


@pytest.mark.parametrize(
    ("objective", "corruption", "parametrization"),
    [
        (MaskedDiffusion(), Absorbing(3), Masked(3)),
        (MaskedDiffusion(), Absorbing(3), Ratio()),
        (OrderAgnosticLoss(), Absorbing(3), Masked(3)),
        (ScoreEntropy(), Absorbing(3), Ratio()),
        (ScoreEntropy(), Uniform(Linear(1e-3)), Ratio()),
        (ScoreEntropy(), Uniform(Linear(1e-3)), Logits()),
    ],
)
def test_losses_of_samples_of_other_lengths(objective, corruption, parametrization):
    # padded and ragged batches equal single samples, and every parameter in use has a gradient
    kernel = CategoricalKernel(Tokens(4), corruption)
    model = NetworkDenoiser(Table(4), kernel, parametrization)
    sizes = [5, 1, 3]
    x0 = torch.arange(15).view(3, 5) % 3
    mask = torch.arange(5) < torch.tensor(sizes)[:, None]
    padded = Batch(x0 * mask, Layout.dense(3, (5,), mask=mask, dtype=torch.int64))
    ragged = Batch(x0[mask], Layout.ragged(sizes, dtype=torch.int64))
    alone = torch.cat(
        [
            objective(
                model,
                Batch(x0[i : i + 1, :n], Layout.dense(1, (n,), dtype=torch.int64)),
                NoiseSource(5, [i]),
            )
            for i, n in enumerate(sizes)
        ]
    )
    for batch in (padded, ragged):
        found = objective(model, batch, NoiseSource(5, range(3)))
        torch.testing.assert_close(found, alone)
    alone.sum().backward()
    assert model.network.table.grad.isfinite().all()
    assert model.network.table.grad.abs().sum() > 0


def test_a_wrong_law_costs_its_divergence():
    # absorbing: sum of E KL of each token's law, here by one law for all: ln 2 each
    class Half(torch.nn.Module):
        def forward(self, x, label, layout, condition):
            return torch.zeros(*x.shape, 3, dtype=F)

    model = NetworkDenoiser(Half(), ABSORBING.kernel, Masked(2))
    batch = batch_of(CHAIN, 500)
    loss = OrderAgnosticLoss()(model, batch, NoiseSource(0, range(500)))
    torch.testing.assert_close(loss, torch.full((500,), math.log(2), dtype=F))


def test_misfits():
    batch, noise = batch_of(CHAIN, 2), NoiseSource(0, range(2))
    table = Absorbing(2, BetaTable.linear(10))
    discrete = PmfOracle(CategoricalKernel(Tokens(3), table), CHAIN)
    walk = PmfOracle(CategoricalKernel(Tokens(2), RandomWalk.bands(2)), CHAIN)
    for call, message in (
        (lambda: MaskedDiffusion()(PAIR, batch, noise), "Absorbing"),
        (lambda: OrderAgnosticLoss()(PAIR, batch, noise), "Absorbing"),
        (lambda: MaskedDiffusion()(discrete, batch, noise), "continuous clock"),
        (lambda: ScoreEntropy()(discrete, batch, noise), "continuous clock"),
        (
            lambda: continuous_bound(Diffusion(discrete, batch.layout, noise), batch.x0),
            "continuous clock",
        ),
        (lambda: ScoreEntropy()(walk, batch, noise), "Absorbing or Uniform"),
        (
            lambda: continuous_bound(Diffusion(walk, batch.layout, noise), batch.x0),
            "Absorbing or Uniform",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            call()
    with pytest.raises(InputError, match="evaluations"):
        continuous_bound(Diffusion(ABSORBING, batch.layout, noise), batch.x0, evaluations=0)
    OrderAgnosticLoss()(discrete, batch, noise)  # its clock does not matter
