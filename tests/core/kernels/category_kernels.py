"""Categorical kernels of every kind, and their matrices by enumeration."""

from __future__ import annotations

import pytest
import torch

from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    Matrices,
    RandomWalk,
    Uniform,
    VPCosine,
)
from unnoise.spaces import Layout, Tokens

D = torch.float64
K = 5
T = 8
BETAS = (0.05, 0.1, 0.2, 0.2, 0.3, 0.5, 0.7, 0.9)
POINTS = torch.tensor([[0.0, 0.0], [1.0, 0.1], [0.2, 1.0], [2.0, 1.5], [1.2, 2.2]])


def stochastic(*shape, seed=0) -> torch.Tensor:
    """Random rows of probabilities, float64."""
    g = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=g, dtype=D).pow(3).add(0.01).log().log_softmax(-1).exp()


CORRUPTIONS = {
    "uniform": Uniform(),
    "uniform cosine": Uniform(VPCosine()),
    "uniform table": Uniform(BetaTable.survival(BETAS)),
    "absorbing": Absorbing(K - 1),
    "absorbing first": Absorbing(0, VPCosine()),
    "absorbing table": Absorbing(2, BetaTable.survival(BETAS)),
    "bands": RandomWalk.bands(K),
    "wide bands": RandomWalk.bands(K, 2, VPCosine(), rate=2.0),
    "neighbours": RandomWalk.nearest_neighbours(POINTS, 2),
    "discretised Gaussian": Matrices.discretised_gaussian(K, (0.2, 0.5, 1, 2, 4, 8, 16, 32)),
    "any matrices": Matrices(stochastic(T, K, K)),
}
# s < t < u, on the steps of all of them
FLOATS = (0.25, 0.625, 0.75)
TENSORS = tuple(
    torch.tensor(v, dtype=D) for v in ([0.125, 0.25, 0.875], [0.25, 0.5, 1.0], [0.625, 0.75, 1.0])
)

corruptions = pytest.mark.parametrize("name", CORRUPTIONS)
rules = pytest.mark.parametrize("rule", ["mixture", "joint"])


def kernel(name: str, rule: str = "mixture") -> CategoricalKernel:
    return CategoricalKernel(Tokens(K), CORRUPTIONS[name], rule)


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def line(n: int) -> Layout:
    return Layout.dense(1, (n,), dtype=torch.int64)


def matrix(k: CategoricalKernel, s: float, t: float) -> torch.Tensor:
    """Q(s, t), one row per state."""
    x = torch.arange(K)[None]
    law = k.marginal(x, t, line(K)) if s == 0 else k.transition(x, s, t, line(K))
    return law.mean[0]
