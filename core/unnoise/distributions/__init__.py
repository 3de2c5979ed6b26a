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
from unnoise.distributions.implicit import Implicit

__all__ = [
    "Categorical",
    "Dirac",
    "Distribution",
    "Gaussian",
    "Implicit",
    "Product",
    "inverse_cdf",
    "one_hot_log",
]
