"""The law of a linear Gaussian series as one dense normal distribution, and laws to try it on."""

from __future__ import annotations

import torch
from torch import Tensor

from unnoise_timeseries.law import Numbers

F64 = torch.float64


def random_law(lags: int, columns: int, features: int, seed: int = 0) -> Numbers:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=F64)

    def covariance(n: int) -> Tensor:
        root = normal(n, n)
        return root @ root.mT + 0.5 * torch.eye(n, dtype=F64)

    weights = 0.5 * normal(lags, columns, columns) / (lags * columns)
    drift, start = normal(columns, features), normal(columns, features)
    return Numbers(weights, drift, start, covariance(columns), covariance(lags * columns))


def dense(numbers: Numbers, features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (n K,) and covariance (n K, n K) of all cells of n rows."""
    p, k, n = numbers.lags, numbers.columns, len(features)
    residual = torch.eye(n * k, dtype=F64)
    noise = torch.zeros(n * k, n * k, dtype=F64)
    noise[: p * k, : p * k] = numbers.first
    forces = torch.cat([features[:p] @ numbers.start.mT, features[p:] @ numbers.drift.mT])
    for t in range(p, n):
        own = slice(t * k, (t + 1) * k)
        noise[own, own] = numbers.noise
        for lag in range(1, p + 1):
            residual[own, (t - lag) * k : (t - lag + 1) * k] = -numbers.weights[lag - 1]
    inverse = torch.linalg.inv(residual)
    return inverse @ forces.flatten(), inverse @ noise @ inverse.mT
