"""How far apart two laws are, told from samples of both: rows (n, d) and (m, d) of what a network
sees in them.

Frechet distance of the Gaussians with their means and covariances (Dowson & Landau 1982; of
Inception's features Heusel 2017, "FID"),

    F = |m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2).

Of finite samples it is too large, by about b / n with a b that depends on the laws, so that values
at different n do not compare. `frechet_limit` takes it off (Chong & Forsyth 2020): the distance at
several n, a straight line in 1/n, its value at 1/n = 0.

Kernel distance (Binkowski 2018, "KID"): the squared maximum mean discrepancy

    E k(a, a') + E k(b, b') - 2 E k(a, b),    k(x, y) = (x . y / d + 1)^3,

by the estimator without pairs of a sample with itself, which has no bias at any n and may be
negative. Neither is a property of the two laws alone: both belong to the network and the resizing
that made the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from unnoise.errors import InputError

_SIZES: Final = 8  # at which the distance is computed for its limit
_GROUPS: Final = 10  # of rows, for an error by the jackknife


@final
@dataclass(frozen=True)
class Estimate:
    """A number and its standard error."""

    value: float
    error: float


def frechet(a: Tensor, b: Tensor) -> float:
    """The Frechet distance of two samples; each needs more rows than columns for a covariance of
    full rank.

    Raises
    ------
    InputError : other shapes, values that are not finite, or fewer than two rows.
    """
    a, b = _checked(a, b)
    covariance_a, covariance_b = (torch.cov(one.T).reshape(2 * one.shape[1:]) for one in (a, b))
    values, vectors = torch.linalg.eigh(covariance_a)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0).sqrt().sum()
    spread = covariance_a.trace() + covariance_b.trace() - 2 * cross
    # rounding alone can take equal samples below nothing
    return max(float((a.mean(0) - b.mean(0)).square().sum() + spread), 0.0)


def frechet_limit(a: Tensor, b: Tensor, seed: int = 0) -> Estimate:
    """The Frechet distance to `b` of infinitely many rows like those of `a`, from subsets of them
    of a quarter and more; the error is that of the straight line, the finite size of `b` stays.

    Raises
    ------
    InputError : as `frechet`, or fewer than four rows for every column.
    """
    a, b = _checked(a, b)
    count, width = a.shape
    if count < 4 * width:
        raise InputError(
            "too few rows for the limit of a distance", value=count, limit=f">= {4 * width}"
        )
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(count / 4, count, _SIZES).round().long()
    found = [frechet(a[torch.randperm(count, generator=generator)[:n]], b) for n in sizes]
    x, y = 1 / sizes.double(), torch.tensor(found, dtype=torch.float64)
    centred = x - x.mean()
    slope = (centred * y).sum() / centred.square().sum()
    limit = y.mean() - slope * x.mean()
    rest = (y - limit - slope * x).square().sum() / (_SIZES - 2)
    error = (rest * (1 / _SIZES + x.mean().square() / centred.square().sum())).sqrt()
    return Estimate(limit.item(), error.item())


def kernel_distance(a: Tensor, b: Tensor, size: int = 5000, seed: int = 0) -> Estimate:
    """The kernel distance of at most `size` rows of each; its error by the jackknife, which leaves
    out a tenth of both.

    Raises
    ------
    InputError : as `frechet`, or fewer than twenty rows of one of them.
    """
    a, b = _checked(a, b)
    if min(len(a), len(b)) < 2 * _GROUPS:
        raise InputError(
            "too few rows for a kernel distance and its error",
            value=min(len(a), len(b)),
            limit=f">= {2 * _GROUPS}",
        )
    generator = torch.Generator().manual_seed(seed)
    a, b = (one[torch.randperm(len(one), generator=generator)[:size]] for one in (a, b))
    within_a, within_b, across = _kernel(a, a), _kernel(b, b), _kernel(a, b)

    def without(group: int) -> Tensor:
        m, n = (torch.arange(len(one)) % _GROUPS != group for one in (a, b))
        return _discrepancy(within_a[m][:, m], within_b[n][:, n], across[m][:, n])

    left = torch.stack([without(group) for group in range(_GROUPS)])
    error = ((left - left.mean()).square().sum() * (_GROUPS - 1) / _GROUPS).sqrt()
    return Estimate(_discrepancy(within_a, within_b, across).item(), error.item())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _discrepancy(within_a: Tensor, within_b: Tensor, across: Tensor) -> Tensor:
    def others(k: Tensor) -> Tensor:
        return (k.sum() - k.trace()) / (len(k) * (len(k) - 1))

    return others(within_a) + others(within_b) - 2 * across.mean()


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(
            "distances are between rows of equal length",
            value=f"{tuple(a.shape)} and {tuple(b.shape)}",
            limit="(n, d) and (m, d)",
        )
    if min(len(a), len(b)) < 2:
        raise InputError("a distance needs two rows of each", value=f"{len(a)} and {len(b)}")
    a, b = a.detach().double(), b.detach().double()
    for one in (a, b):
        if not one.isfinite().all():
            raise InputError(
                "the rows are not all finite", value=f"{(~one.isfinite()).sum()} are not"
            )
    return a, b
