"""Elementary functions of a time, a float or a tensor: a float costs no tensor work."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unnoise.spaces import Time


def exp(v: Time) -> Time:
    return torch.exp(v) if isinstance(v, Tensor) else math.exp(v)


def log(v: Time) -> Time:
    if isinstance(v, Tensor):
        return torch.log(v)
    return math.log(v) if v > 0 else -math.inf


def expm1(v: Time) -> Time:
    return torch.expm1(v) if isinstance(v, Tensor) else math.expm1(v)


def sqrt(v: Time) -> Time:
    return torch.sqrt(v) if isinstance(v, Tensor) else math.sqrt(v)


def cos(v: Time) -> Time:
    return torch.cos(v) if isinstance(v, Tensor) else math.cos(v)


def sin(v: Time) -> Time:
    return torch.sin(v) if isinstance(v, Tensor) else math.sin(v)


def clean_at_zero(t: Time, v: Time) -> Time:
    """v, but 0 at t = 0."""
    if isinstance(t, Tensor):
        return torch.where(t == 0, torch.zeros_like(t), torch.as_tensor(v))
    return 0.0 if t == 0 else v
