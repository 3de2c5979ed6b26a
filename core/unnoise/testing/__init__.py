"""Exact denoisers and bounds: what a sampler, a loss or a kernel of your own is tested against."""

from unnoise.testing.exact import all_states, exact_bound, expectation
from unnoise.testing.finite import FiniteOracle
from unnoise.testing.oracles import (
    GaussianOracle,
    MixtureOracle,
    PmfOracle,
    PointEstimate,
)

__all__ = [
    "FiniteOracle",
    "GaussianOracle",
    "MixtureOracle",
    "PmfOracle",
    "PointEstimate",
    "all_states",
    "exact_bound",
    "expectation",
]
