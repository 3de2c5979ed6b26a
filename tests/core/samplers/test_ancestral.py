"""Ancestral sampling with exact laws: Analytic-DPM's optimum, DDPM's variance, tokens, points."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats

from unnoise.distributions import Gaussian
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    RandomWalk,
    Uniform,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import Ancestral, Diffusion, grids
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM
from unnoise.testing import FiniteOracle, GaussianOracle, PmfOracle, PointEstimate, all_states

F = torch.float64
T = 1000
ONE = Layout.dense(1, (1,), dtype=F)


def spread(k: int) -> list[float]:
    return [round(1 + 999 * i / (k - 1)) / T for i in reversed(range(k))] + [0.0]


def final_variance(denoiser, times, start=1.0, last_noise=True) -> float:
    """Exact variance of the output, from the gain and noise of each shipped reverse step."""
    variance = start
    for t, s in itertools.pairwise(times):
        x = torch.tensor([[0.0], [1.0]], dtype=F)
        layout = Layout.dense(2, (1,), dtype=F)
        law = denoiser.kernel.reverse(x, denoiser(x, t, layout), t, s, layout)
        gain = (law.mean[1] - law.mean[0]).item()
        noise = float(torch.as_tensor(law.std).flatten()[0]) if s > 0 or last_noise else 0.0
        variance = gain**2 * variance + noise**2
    return variance


BETATILDE = {
    2: 1.0e-4,
    5: 0.04399,
    10: 0.10422,
    25: 0.16337,
    50: 0.19642,
    100: 0.21898,
    1000: 0.24613,
}


@pytest.mark.parametrize(("steps", "variance"), BETATILDE.items())
def test_fixed_and_optimal_reverse_variance(steps, variance):
    # data N(0, 1/4), the grid of DDIM's table, x_T ~ N(0, 1)
    exact = GaussianOracle(GaussianKernel(Euclidean(), BetaTable.linear(T)), 0.0, 0.25)
    found = final_variance(PointEstimate(exact), spread(steps))
    assert found == pytest.approx(variance, abs=6e-6 if steps > 2 else 5e-6)
    # the law with the posterior's variance makes the optimum, for every number of steps
    assert final_variance(exact, spread(steps), last_noise=False) == pytest.approx(0.2499, abs=5e-7)
    assert final_variance(exact, spread(steps)) == pytest.approx(0.25, abs=1e-6)


def test_own_setting_optimal_variance_of_the_ddim_family():
    # cosine-free: flow matching, data of variance 2; any eta keeps the marginals exactly
    kernel = GaussianKernel(Euclidean(), Linear())
    oracle = GaussianOracle(kernel, 0.0, 2.0)
    layout = Layout.dense(2, (1,), dtype=F)
    for eta in (0.0, 0.5, 1.0):
        variance = 1.0
        for t, s in ((1.0, 0.6), (0.6, 0.1), (0.1, 0.0)):
            x = torch.tensor([[0.0], [1.0]], dtype=F)
            law = kernel.bridge(x, oracle(x, t, layout), t, s, layout, eta)
            gain = (law.mean[1] - law.mean[0]).item()
            variance = gain**2 * variance + law.std**2
            assert variance == pytest.approx((1 - s) ** 2 * 2 + s**2, rel=1e-12)


def test_a_run_has_the_moments_that_the_steps_promise():
    # 40,000 points, 25 steps: mean and variance within 5 standard errors, false alarm 1.2e-6 in all
    exact = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 0.25)
    layout, noise = Layout.dense(4, (10_000,), dtype=F), NoiseSource(3, range(4))
    x = exact.kernel.prior(layout).sample(noise)
    grid = grids.uniform(exact.kernel, 25)
    *_, last = Ancestral()(Diffusion(exact, layout, noise), x, grid)
    n = last.x.numel()
    assert last.t == 0
    assert abs(last.x.mean().item()) < 5 * 0.5 / math.sqrt(n)
    assert abs(last.x.var().item() / 0.25 - 1) < 5 * math.sqrt(2 / n)


def chi_square(counts: torch.Tensor, p: torch.Tensor) -> float:
    """p value of counts under probabilities p; cells of probability 0 must be empty."""
    assert counts[p == 0].sum() == 0
    counts, p = counts[p > 0].double(), p[p > 0]
    expected = counts.sum() * p
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    return stats.chi2.sf(statistic, len(p) - 1)


def table(x: torch.Tensor, k: int) -> torch.Tensor:
    weights = k ** torch.arange(x.shape[1] - 1, -1, -1)
    return torch.bincount((x * weights).sum(1), minlength=k ** x.shape[1])


@pytest.mark.parametrize(
    "corruption",
    [Uniform(Linear(1e-4)), Absorbing(3), RandomWalk.bands(4, 1)],
    ids=lambda c: type(c).__name__,
)
def test_one_token_comes_back_exactly(corruption):
    # the mixture rule with the true p(x_0 | x_t) is exact at any number of steps, here 3:
    # chi-square on 20,000 tokens, false alarm 1e-7. The prior's error (1e-4) is far below.
    kernel = CategoricalKernel(Tokens(4), corruption)
    pmf = torch.tensor([0.5, 0.3, 0.2], dtype=F)
    oracle = PmfOracle(kernel, pmf)
    layout, noise = Layout.dense(20_000, (1,), dtype=torch.int64), NoiseSource(0, range(20_000))
    x = kernel.prior(layout).sample(noise)
    *_, last = Ancestral()(Diffusion(oracle, layout, noise), x, grids.uniform(kernel, 3))
    p = torch.cat([pmf, torch.zeros(1, dtype=F)])
    assert chi_square(table(last.x, 4), p) > 1e-7


def parallel_pmf(pmf: torch.Tensor, steps: int) -> torch.Tensor:
    """What absorbing ancestral sampling of two tokens gives in `steps` steps with exact laws:
    both are shown in the same step with probability 1 / steps, and then independently."""
    apart = torch.outer(pmf.sum(1), pmf.sum(0))
    return (1 - 1 / steps) * pmf + apart / steps


@pytest.mark.parametrize("steps", [1, 4])
def test_absorbing_pairs_lose_what_is_shown_at_once(steps):
    # chi-square on 20,000 pairs, false alarm 1e-7
    kernel = CategoricalKernel(Tokens(3), Absorbing(2))
    pmf = torch.tensor([[0.45, 0.05], [0.05, 0.45]], dtype=F)
    oracle = PmfOracle(kernel, pmf)
    layout, noise = Layout.dense(20_000, (2,), dtype=torch.int64), NoiseSource(1, range(20_000))
    x = kernel.prior(layout).sample(noise)
    *_, last = Ancestral()(Diffusion(oracle, layout, noise), x, grids.uniform(kernel, steps))
    assert last.x.max() < 2
    counts = table(last.x, 2)
    assert chi_square(counts, parallel_pmf(pmf, steps).flatten()) > 1e-7
    assert chi_square(counts, pmf.flatten()) < 1e-7  # and the test can tell


def test_centred_points_stay_centred_and_come_back():
    # two shapes of a sample with 3 points: 40 steps end on one of them
    kernel = GaussianKernel(ZeroCoM(), VPLinear())
    shapes = [
        torch.tensor([[2.0, 0], [-1, 0], [-1, 0]], dtype=F),
        torch.tensor([[0, 1.0], [0, 1], [0, -2]], dtype=F),
    ]
    oracle = FiniteOracle(kernel, shapes)
    layout, noise = Layout.ragged([3] * 50, (2,), dtype=F), NoiseSource(0, range(50))
    x = kernel.prior(layout).sample(noise)
    for step in Ancestral()(Diffusion(oracle, layout, noise), x, grids.uniform(kernel, 40)):
        kernel.space.validate(step.x, layout)
    distance = torch.stack([(step.x.view(50, 3, 2) - s).abs().amax((1, 2)) for s in shapes])
    assert distance.amin(0).max() < 1e-6
    first = (distance[0] < 1e-6).sum().item()
    assert 8 <= first <= 42  # binomial(50, 1/2): false alarm 2e-6


def test_law_of_a_step_is_what_is_sampled():
    exact = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 0.25)
    grid = torch.tensor([1.0, 0.5], dtype=F)
    (step,) = Ancestral()(
        Diffusion(exact, ONE, NoiseSource(0, [0])), torch.ones(1, 1, dtype=F), grid
    )
    assert step.t == 0.5
    assert isinstance(step.x0, Gaussian)
    law = exact.kernel.reverse(torch.ones(1, 1, dtype=F), step.x0, 1.0, 0.5, ONE)
    assert torch.equal(step.x, law.sample(NoiseSource(0, [0])))


def test_all_states_are_counted_in_order():
    assert table(all_states(3, 2), 3).tolist() == [1] * 9
