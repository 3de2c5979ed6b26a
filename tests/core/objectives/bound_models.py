"""Models whose bound is known, and what it is."""

from __future__ import annotations

import math

import torch

from unnoise.denoise import Denoiser
from unnoise.distributions import Product
from unnoise.kernels import (
    GaussianKernel,
)
from unnoise.spaces import Euclidean, Layout

F = torch.float64
LN2 = math.log(2)
PMF = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=F)


def gaussian(schedule):
    return GaussianKernel(Euclidean(), schedule)


def dense(x):
    return Layout.dense(len(x), x.shape[1:], dtype=x.dtype)


def entropy(p: torch.Tensor) -> float:
    p = p[p > 0]
    return -(p * p.log()).sum().item()


def log_normal(x, variance):
    return -0.5 * (x**2 / variance + math.log(2 * math.pi * variance))


def gaussian_expected(x0, m, v, schedule) -> torch.Tensor:
    """(B,) -log p(x_0) + E log(q(x_1) / prior) given x_0: what the exact chain has left."""
    nll = 0.5 * ((x0 - m) ** 2 / v + math.log(2 * math.pi * v))
    a, s = schedule.alpha(1.0), schedule.sigma(1.0)
    total = a**2 * v + s**2
    end = a * x0  # mean of x_1 given x_0; its variance is s^2
    log_q = -0.5 * (((end - a * m) ** 2 + s**2) / total + math.log(total))
    log_prior = -0.5 * ((end**2 + s**2) / s**2 + math.log(s**2))
    return (nll + log_q - log_prior).sum(1)


class Apart(Denoiser):
    """Independent exact laws of the parts."""

    def __init__(self, kernel, **parts):
        super().__init__()
        self.kernel, self.parts = kernel, parts

    def forward(self, x_t, t, layout, condition=None):
        return Product({n: p(x_t[n], t, layout[n]) for n, p in self.parts.items()})
