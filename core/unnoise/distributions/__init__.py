"""Distributions over states."""

from unnoise.distributions.distributions import (
    Categorical,
    Dirac,
    Distribution,
    Gaussian,
    Product,
    inverse_cdf,
    one_hot_log,
)

__all__ = [
    "Categorical",
    "Dirac",
    "Distribution",
    "Gaussian",
    "Product",
    "inverse_cdf",
    "one_hot_log",
]
