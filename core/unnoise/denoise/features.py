"""Input features for networks that must see fine detail.

x -> (x, sin(2^n pi x), cos(2^n pi x))  for some n: a change of 2^-n in x turns the angle by pi.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def fourier_features(
    x: Float[Tensor, "rows ..."], exponents: Sequence[int] = (6, 7), axis: int = 1
) -> Float[Tensor, "rows ..."]:
    """`x` with sin(2^n pi x) and cos(2^n pi x) appended along `axis`, for n in `exponents`.

    With them a network sees the last bits of 8-bit data in [-1, 1], on which the likelihood
    depends (Kingma 2021). The size of `axis` grows (1 + 2 len(exponents))-fold.
    """
    angles = [2.0**n * math.pi * x for n in exponents]
    return torch.cat([x, *(a.sin() for a in angles), *(a.cos() for a in angles)], dim=axis)
