"""Where data lives: layouts and spaces."""

from unnoise.spaces.layout import Layout, State, Time, parts, tensor
from unnoise.spaces.spaces import DataSpace, Euclidean, Product, Tokens, ZeroCoM

__all__ = [
    "DataSpace",
    "Euclidean",
    "Layout",
    "Product",
    "State",
    "Time",
    "Tokens",
    "ZeroCoM",
    "parts",
    "tensor",
]
