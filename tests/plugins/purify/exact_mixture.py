"""Data of independent entries, each +-1 with a standard deviation of 0.3: everything about their
purification is known."""

from __future__ import annotations

from typing import Any, cast

import torch
from scipy.integrate import quad
from scipy.stats import norm

from unnoise.codecs import Identity
from unnoise.denoise import Denoiser
from unnoise.distributions import Dirac, Gaussian
from unnoise.domain import Trained
from unnoise.spaces import tensor

STD = 0.3
F = torch.float64


class Mixture(Denoiser):
    """The exact mean of each entry given x_t, and its exact variance unless a point is wanted."""

    def __init__(self, kernel, point=False):
        super().__init__()
        self.kernel, self.point = kernel, point

    def forward(self, x_t, t, layout, condition=None):
        x = tensor(x_t)
        alpha, sigma = self.kernel.schedule.alpha(t), self.kernel.schedule.sigma(t)
        total = alpha**2 * STD**2 + sigma**2
        gain = alpha * STD**2 / total
        right = torch.sigmoid(2 * alpha * x / total)
        low, high = -1 + gain * (x + alpha), 1 + gain * (x - alpha)
        mean = right * high + (1 - right) * low
        if self.point:
            return Dirac(mean, layout)
        within = STD**2 * sigma**2 / total
        variance = within + right * (1 - right) * (high - low) ** 2
        return Gaussian(mean, variance.sqrt(), self.kernel.space, layout)


def trained(denoiser: Denoiser) -> Trained:
    """A model of data that are their own states."""
    return Trained(cast(Any, None), denoiser, None, codec=Identity())


def posterior(x):
    """p(the right component | x_0)."""
    return torch.sigmoid(2 * x / STD**2)


def accuracy(alpha: float, sigma: float, shift: float) -> float:
    """The mean probability of the right component after exact purification of N(1 + shift, .3^2):
    E p(right | x_t), since that is the mean of p(right | x_0) over p(x_0 | x_t)."""
    total = alpha**2 * STD**2 + sigma**2
    law = norm(alpha * (1 + shift), total**0.5)

    def term(x: float) -> float:
        return float(law.pdf(x)) / (1 + torch.exp(torch.tensor(-2 * alpha * x / total)).item())

    low, high = law.mean() - 9 * law.std(), law.mean() + 9 * law.std()
    return quad(term, low, high, limit=200)[0]
