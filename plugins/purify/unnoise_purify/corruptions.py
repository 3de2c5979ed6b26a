"""Ordinary damage to pictures in [0, 1]: what purification is for when nobody attacks.

Gaussian  x + s n        shot      Poisson(k x) / k       impulse  a share of entries to 0 or 1
blur      a Gaussian of s pixels                          occlusion  a square set to 0

Severities 1 to 5 are those of the table below. What is drawn belongs to the seed and the number of
a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import InputError, nearest
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout

Pictures = Float[Tensor, "batch c h w"]
SEVERITIES: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        "gaussian": (0.1, 0.2, 0.3, 0.4, 0.6),  # standard deviation
        "shot": (60, 25, 12, 5, 3),  # photons of white
        "impulse": (0.03, 0.06, 0.1, 0.2, 0.3),  # share of entries
        "blur": (0.5, 1, 1.5, 2, 2.5),  # standard deviation, pixels
        "occlusion": (0.1, 0.2, 0.3, 0.4, 0.5),  # side, in units of the shorter side
    }
)


def corrupted(
    x: Pictures, kind: str, severity: int, *, numbers: Sequence[int], seed: int = 0
) -> Pictures:
    """Damaged pictures, in [0, 1].

    Raises InputError for a kind or a severity that there is not.
    """
    if kind not in SEVERITIES:
        known = ", ".join(SEVERITIES)
        raise InputError(
            "there is no such corruption", value=kind, limit=known, fix=nearest(kind, SEVERITIES)
        )
    levels = SEVERITIES[kind]
    if not 1 <= severity <= len(levels):
        raise InputError("severity is out of range", value=severity, limit=f"1 to {len(levels)}")
    noise = NoiseSource(seed, list(numbers))
    return _KINDS[kind](x, levels[severity - 1], noise).clamp(0, 1)


def _layout(x: Tensor) -> Layout:
    return Layout.dense(len(x), x.shape[1:], dtype=torch.float32, device=x.device)


def _gaussian(x: Pictures, level: float, noise: NoiseSource) -> Pictures:
    return x + level * noise.normal(_layout(x))


def _shot(x: Pictures, level: float, noise: NoiseSource) -> Pictures:
    """By inverting the distribution at a uniform number: no more than 60 photons are counted."""
    rate = (level * x.double()).clamp(min=0)
    u = noise.uniform(_layout(x)).to(rate)
    term = torch.exp(-rate)
    total, count = term.clone(), torch.zeros_like(rate)
    for k in range(1, int(4 * level + 20)):
        above = u > total
        if not bool(above.any()):
            break
        count += above
        term = term * rate / k
        total += term
    return (count / level).to(x)


def _impulse(x: Pictures, level: float, noise: NoiseSource) -> Pictures:
    u = noise.uniform(_layout(x)).to(x)
    x = torch.where(u < level / 2, torch.zeros_like(x), x)
    return torch.where(u >= 1 - level / 2, torch.ones_like(x), x)


def _blur(x: Pictures, level: float, noise: NoiseSource) -> Pictures:
    reach = max(1, round(3 * level))
    at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    weights = torch.exp(-0.5 * (at / level) ** 2)
    weights /= weights.sum()
    rows = x.reshape(-1, 1, *x.shape[-2:])
    rows = F.pad(rows, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(F.conv2d(rows, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return rows.view(x.shape)


def _occlusion(x: Pictures, level: float, noise: NoiseSource) -> Pictures:
    height, width = x.shape[-2:]
    side = max(1, round(level * min(height, width)))
    out = x.clone()
    for row, (top, left) in enumerate(noise.uniform(Layout.dense(len(x), (2,))).tolist()):
        i, j = int(top * (height - side + 1)), int(left * (width - side + 1))
        out[row, :, i : i + side, j : j + side] = 0
    return out


_KINDS: Final[Mapping[str, Callable[[Pictures, float, NoiseSource], Pictures]]] = MappingProxyType(
    {
        "gaussian": _gaussian,
        "shot": _shot,
        "impulse": _impulse,
        "blur": _blur,
        "occlusion": _occlusion,
    }
)
