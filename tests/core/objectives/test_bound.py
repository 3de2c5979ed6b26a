"""The variational bound: constants of DDPM, D3PM and chains by enumeration, estimates."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from unnoise.errors import InputError
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    Matrices,
    Uniform,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import Continuous, bits_per_dimension, bound
from unnoise.objectives.bound import _strata
from unnoise.samplers import Diffusion
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import GaussianOracle, PmfOracle, PointEstimate, exact_bound, expectation

sys.path.insert(0, str(Path(__file__).parent))
from bound_models import LN2, PMF, F, dense, entropy, gaussian


def test_constants_of_ddpm():
    schedule = BetaTable.linear()
    assert schedule.alpha(1.0) ** 2 == pytest.approx(4.0358e-5, rel=2e-5)
    x = torch.zeros(1, 1, dtype=F)
    oracle = PointEstimate(GaussianOracle(gaussian(schedule), 0.0, 0.25))
    step = gaussian(schedule).reverse(x, oracle(x, 0.002, dense(x)), 0.002, 0.001, dense(x))
    assert step.std**2 == pytest.approx(5.4532e-5, rel=2e-5)


@pytest.mark.parametrize(
    ("square", "bits", "digits"), [(1.0, 2.911e-5, 5e-9), (0.25, 7.28e-6, 5e-9), (4.0, None, 1e-9)]
)
def test_prior_term_of_ddpm(square, bits, digits):
    schedule = BetaTable.linear()
    x = torch.full((2, 3), square**0.5, dtype=F)
    oracle = GaussianOracle(gaussian(schedule), 0.0, 0.25)
    found = bound(
        Diffusion(oracle, dense(x), NoiseSource(0, range(2))), x, steps=1000, evaluations=1
    )
    # from N(alpha x, sigma^2) to the prior N(0, sigma^2), whose variance is 1 - alpha^2
    a = schedule.alpha(1.0) ** 2
    exact = a * square / (1 - a) / 2 / LN2 if bits is None else bits
    per_dimension = bits_per_dimension(found.prior, Continuous(), x, Euclidean(), dense(x))
    assert per_dimension.tolist() == pytest.approx([exact] * 2, abs=digits)


def token_model(posterior: str, pmf=PMF) -> PmfOracle:
    return PmfOracle(CategoricalKernel(Tokens(4), Uniform(Linear(0.001)), posterior), pmf)


@pytest.mark.parametrize("steps", [1, 4, 9, 20, 100])
def test_exact_posterior_gives_entropy_plus_prior(steps):
    end = 0.001 * PMF + 0.999 / 4
    assert entropy(PMF) + (end * (end * 4).log()).sum() == pytest.approx(1.142120273, abs=1e-9)
    found = exact_bound(token_model("mixture"), PMF, steps)
    assert found.total.item() == pytest.approx(1.142120273, abs=1e-9)


@pytest.mark.parametrize(
    ("steps", "value", "direct"),
    [(4, 1.517642, 1.247071), (20, 1.694248, 1.570310), (100, 1.739125, 1.701834)],
)
def test_normalised_sum_over_joints(steps, value, direct):
    model = token_model("joint")
    found = exact_bound(model, PMF, steps)
    assert found.total.item() == pytest.approx(value, abs=6e-7)
    # the last step by p(x_0 | x_1) itself

    def last(x0, x_t, layout):
        return -model(x_t, 1 / steps, layout).log_prob(x0)

    mixed = found.prior + found.steps + expectation(model.kernel, PMF, 1 / steps, last)
    assert mixed.item() == pytest.approx(direct, abs=6e-7)


def test_own_setting_one_token_under_any_matrices():
    # not doubly stochastic: the prior is the average row of the last product
    g = torch.Generator().manual_seed(0)
    q = torch.rand(6, 3, 3, generator=g, dtype=F) + torch.eye(3, dtype=F)
    q = q / q.sum(-1, keepdim=True)
    pmf = torch.tensor([0.2, 0.7, 0.1], dtype=F)
    total = torch.linalg.multi_dot(list(q))
    end, prior = pmf @ total, total.mean(0)
    expected = entropy(pmf) + (end * (end / prior).log()).sum().item()
    kernel = CategoricalKernel(Tokens(3), Matrices(q))
    for steps in (1, 2, 6):
        found = exact_bound(PmfOracle(kernel, pmf), pmf, steps)
        assert found.total.item() == pytest.approx(expected, abs=1e-10)
    with pytest.raises(InputError, match="chain"):
        exact_bound(PmfOracle(kernel, pmf), pmf, 4)


FLIP = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=F)
CHAINS = {2: FLIP / 2, 3: FLIP[:, :, None] * FLIP / 2}
CHAIN_BOUNDS = [
    (2, 1, 1.3862944),
    (2, 2, 1.2022623),
    (2, 5, 1.0918430),
    (2, 10, 1.0550366),
    (2, 100, 1.0219108),
    (3, 2, 1.6836581),
    (3, 10, 1.4069471),
    (3, 100, 1.3495767),
]


def chain_model(pmf: torch.Tensor) -> PmfOracle:
    return PmfOracle(CategoricalKernel(Tokens(3), Absorbing(2)), pmf)


@pytest.mark.parametrize(("length", "steps", "value"), CHAIN_BOUNDS)
def test_absorbing_chain_by_enumeration(length, steps, value):
    pmf = CHAINS[length]
    found = exact_bound(chain_model(pmf), pmf, steps)
    assert found.total.item() == pytest.approx(value, abs=6e-8)
    assert found.prior.item() == 0
    if length == 2:
        information = 2 * math.log(2) - entropy(pmf)
        assert (entropy(pmf), information) == pytest.approx((1.0182302, 0.3680642), abs=6e-8)
        expected = entropy(pmf) + information / steps
        assert found.total.item() == pytest.approx(expected, abs=1e-10)
    else:
        assert entropy(pmf) == pytest.approx(1.3433131, abs=6e-8)


def test_own_setting_any_pair():
    # H + I / T for a pair that is neither symmetric nor binary
    pmf = torch.tensor([[0.3, 0.05, 0.1], [0.0, 0.25, 0.05], [0.15, 0.02, 0.08]], dtype=F)
    apart = torch.outer(pmf.sum(1), pmf.sum(0))
    information = entropy(apart) - entropy(pmf)
    model = PmfOracle(CategoricalKernel(Tokens(4), Absorbing(3)), pmf)
    for steps in (1, 3, 7):
        found = exact_bound(model, pmf, steps).total.item()
        assert found == pytest.approx(entropy(pmf) + information / steps, abs=1e-10)


def draws(pmf: torch.Tensor, n: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    flat = torch.multinomial(pmf.flatten(), n, replacement=True, generator=g)
    return torch.stack(torch.unravel_index(flat, pmf.shape), -1)


@pytest.mark.parametrize(("length", "steps", "value"), [(2, 5, 1.0918430), (3, 10, 1.4069471)])
def test_absorbing_chain_by_monte_carlo(length, steps, value):
    # within 5 standard errors over 4,000 independent sequences: false alarm 6e-7 each
    pmf = CHAINS[length]
    x0 = draws(pmf, 4000)
    layout = Layout.dense(4000, (length,), dtype=torch.int64)
    total = bound(
        Diffusion(chain_model(pmf), layout, NoiseSource(1, range(4000))), x0, steps=steps
    ).total
    error = total.std().item() / math.sqrt(4000)
    assert error < 0.03
    assert abs(total.mean().item() - value) < 5 * error


@pytest.mark.parametrize("posterior", ["mixture", "joint"])
def test_one_token_by_monte_carlo(posterior):
    x0 = draws(PMF, 4000)
    layout = Layout.dense(4000, (1,), dtype=torch.int64)
    model = token_model(posterior)
    total = bound(Diffusion(model, layout, NoiseSource(2, range(4000))), x0, steps=4).total
    expected = exact_bound(model, PMF, 4).total.item()
    assert abs(total.mean().item() - expected) < 5 * total.std().item() / math.sqrt(4000)


def test_evaluations_estimate_the_same():
    # 3 of 19 inner times, stratified: within 5 standard errors; the bound states its own error
    pmf = CHAINS[2]
    x0 = draws(pmf, 4000)
    layout = Layout.dense(4000, (2,), dtype=torch.int64)
    model = chain_model(pmf)
    found = bound(
        Diffusion(model, layout, NoiseSource(3, range(4000))), x0, steps=20, evaluations=3
    )
    expected = entropy(pmf) + (2 * math.log(2) - entropy(pmf)) / 20
    error = found.total.std().item() / math.sqrt(4000)
    assert abs(found.total.mean().item() - expected) < 5 * error
    assert found.standard_error.isfinite().all()
    full = bound(
        Diffusion(model, Layout.dense(50, (2,)), NoiseSource(3, range(50))), x0[:50], steps=20
    )
    more = bound(
        Diffusion(model, Layout.dense(50, (2,)), NoiseSource(3, range(50))),
        x0[:50],
        steps=20,
        evaluations=999,
    )
    torch.testing.assert_close(full.total, more.total, rtol=0, atol=0)


@pytest.mark.parametrize(("steps", "n"), [(999, 100), (999, 999), (19, 3), (7, 6), (5, 1), (1, 1)])
def test_the_strata_cover_the_chain_once(steps, n):
    edges = _strata(steps, n)
    widths = [b - a for a, b in pairwise(edges)]
    assert (edges[0], edges[-1], len(widths)) == (0, steps, n)
    assert min(widths) >= 1
    if (steps, n) == (999, 100):
        assert widths[:9] == [1] * 9  # the first steps one by one
        assert max(widths) <= 21


def test_bound_does_not_depend_on_the_batch():
    pmf = CHAINS[3]
    x0, model = draws(pmf, 4), chain_model(pmf)
    together = bound(Diffusion(model, Layout.dense(4, (3,)), NoiseSource(0, range(4))), x0, steps=7)
    for i in range(4):
        alone = bound(
            Diffusion(model, Layout.dense(1, (3,)), NoiseSource(0, [i])), x0[i : i + 1], steps=7
        )
        torch.testing.assert_close(alone.total[0], together.total[i])
    some = bound(
        Diffusion(model, Layout.dense(4, (3,)), NoiseSource(0, range(4))),
        x0,
        steps=7,
        evaluations=2,
    )
    for i in range(4):
        one = NoiseSource(0, [i])
        alone = bound(
            Diffusion(model, Layout.dense(1, (3,)), one), x0[i : i + 1], steps=7, evaluations=2
        )
        torch.testing.assert_close(alone.total[0], some.total[i])


@pytest.mark.parametrize("steps", [0, -1, 3])
def test_a_chain_is_made_of_the_kernels_steps(steps):
    model = GaussianOracle(GaussianKernel(Euclidean(), BetaTable.linear(10)), 0.0, 1.0)
    x0, layout = torch.zeros(1, 1, dtype=F), Layout.dense(1, (1,), dtype=F)
    with pytest.raises(InputError, match="chain"):
        bound(Diffusion(model, layout, NoiseSource(0, [0])), x0, steps=steps)
    bound(Diffusion(model, layout, NoiseSource(0, [0])), x0, steps=5)
