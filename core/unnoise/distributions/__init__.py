"""Distributions over states."""

from unnoise.distributions.distances import Estimate, frechet, frechet_limit, kernel_distance
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
from unnoise.distributions.mixture import Mixture

__all__ = [
    "Bernoulli",
    "Categorical",
    "Dirac",
    "DiscretisedLogistic",
    "Distribution",
    "Estimate",
    "Gaussian",
    "Implicit",
    "Levels",
    "Mixture",
    "Product",
    "frechet",
    "frechet_limit",
    "inverse_cdf",
    "kernel_distance",
    "one_hot_log",
]
