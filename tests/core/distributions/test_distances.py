"""Distances between samples of laws whose distances are known."""

from __future__ import annotations

import pytest
import torch

from unnoise.distributions import frechet, frechet_limit, kernel_distance
from unnoise.errors import InputError


def gaussian(n: int, d: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(n, d, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (0.7, 1.0), (0.5, 2.0)])
def test_gaussians_with_one_basis(d, mean, scale):
    # |m|^2 + sum of (1 - s)^2 when the covariances commute
    exact = d * mean**2 + d * (1 - scale) ** 2
    found = frechet(gaussian(40_000, d, 0), gaussian(40_000, d, 1, mean, scale))
    assert found == pytest.approx(exact, abs=0.05)


def test_covariances_that_do_not_commute():
    a = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, -0.5], [-0.5, 3.0]], dtype=torch.float64)
    # of a 2 x 2 matrix with positive eigenvalues, tr M^1/2 = (tr M + 2 det(M)^1/2)^1/2
    product = a @ b
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    exact = a.trace() + b.trace() - 2 * root
    x, y = (gaussian(100_000, 2, k) @ torch.linalg.cholesky(c).T for k, c in enumerate((a, b)))
    assert frechet(x, y) == pytest.approx(exact.item(), abs=0.03)


def test_equal_samples_are_nowhere_apart():
    x = gaussian(300, 8, 0)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)


def test_the_limit_has_less_bias_than_the_distance():
    """One law, so that the truth is nothing. For small n^-1 the mean of the distance is that of
    |m|^2 + tr (S - I)^2 / 4, which is d / n + d (d + 1) / 4n."""
    b = gaussian(50_000, 16, 99)
    biased = [frechet(gaussian(640, 16, k), b) for k in range(8)]
    limits = [frechet_limit(gaussian(640, 16, k), b).value for k in range(8)]
    mean = sum(biased) / 8
    assert mean == pytest.approx((16 + 16 * 17 / 4) / 640, rel=0.1)
    assert abs(sum(limits) / 8) < 0.2 * mean


def test_kernel_distance_is_without_bias():
    found = [kernel_distance(gaussian(400, 4, k), gaussian(400, 4, 100 + k)) for k in range(30)]
    values = torch.tensor([one.value for one in found])
    error = values.std() / 30**0.5
    assert abs(values.mean()) < 4 * error  # a false alarm in 16,000
    # the error that is said is that of what is said: within a factor of two on average
    said = sum(one.error for one in found) / 30
    assert 0.5 < said / values.std() < 2


def test_kernel_distance_by_hand():
    a, b = gaussian(20, 2, 0), gaussian(21, 2, 1, mean=1.0)

    def k(u: torch.Tensor, v: torch.Tensor) -> float:
        return float((u @ v / 2 + 1) ** 3)

    def others(x: torch.Tensor) -> float:
        n = len(x)
        return sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    across = sum(k(x, y) for x in a for y in b) / (20 * 21)
    assert kernel_distance(a, b).value == pytest.approx(others(a) + others(b) - 2 * across)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (torch.zeros(5, 2), torch.zeros(5, 3), "equal length"),
        (torch.zeros(5), torch.zeros(5), "equal length"),
        (torch.zeros(1, 2), torch.zeros(5, 2), "two rows"),
        (torch.full((5, 2), torch.nan), torch.zeros(5, 2), "finite"),
    ],
)
def test_what_cannot_be_compared(a, b, said):
    for distance in (frechet, kernel_distance):
        with pytest.raises(InputError, match=said):
            distance(a, b)


def test_too_few_rows_for_a_limit_or_for_subsets():
    with pytest.raises(InputError, match=r"allowed: >= 32"):
        frechet_limit(torch.rand(31, 8), torch.rand(50, 8))
    with pytest.raises(InputError, match=r"allowed: >= 20"):
        kernel_distance(torch.rand(31, 8), torch.rand(19, 8))
