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
from unnoise.distributions.levels import Bernoulli, DiscretisedLogistic, Levels

__all__ = [
    "Bernoulli",
    "Categorical",
    "Dirac",
    "DiscretisedLogistic",
    "Distribution",
    "Gaussian",
    "Implicit",
    "Levels",
    "Product",
    "inverse_cdf",
    "one_hot_log",
]
