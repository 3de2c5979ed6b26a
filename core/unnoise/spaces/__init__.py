"""Where data lives: layouts and spaces."""

from unnoise.spaces.layout import Layout, State, Time, parts, tensor
from unnoise.spaces.spaces import DataSpace, Euclidean, ProductSpace, Tokens, ZeroCoM

__all__ = [
    "DataSpace",
    "Euclidean",
    "Layout",
    "ProductSpace",
    "State",
    "Time",
    "Tokens",
    "ZeroCoM",
    "parts",
    "tensor",
]
