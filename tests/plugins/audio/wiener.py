"""An AR(2) signal, its exact denoiser, and what samplers make of it in closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from unnoise.denoise import Denoiser
from unnoise.distributions import Dirac
from unnoise.kernels import BetaTable, GaussianKernel, Schedule
from unnoise.spaces import Euclidean
from unnoise_audio.levels import SCHEDULES

SIZE = 2048
_FREQUENCY = 2 * math.pi * torch.fft.fftfreq(SIZE, dtype=torch.float64)
_WHITEN = 1 - 1.6 * torch.exp(-1j * _FREQUENCY) + 0.81 * torch.exp(-2j * _FREQUENCY)
POWER = 0.01 / _WHITEN.abs() ** 2
"""Of x_n = 1.6 x_{n-1} - .81 x_{n-2} + e_n, var e = .01, round a circle."""


class Wiener(Denoiser):
    """E[x_0 | x_t] = alpha P / (alpha^2 P + sigma^2) x_t, at each frequency."""

    def __init__(self, table: Schedule) -> None:
        super().__init__()
        self.kernel = GaussianKernel(Euclidean(), table)

    def forward(self, x_t, t, layout, condition=None):
        alpha, sigma = self.kernel.schedule.alpha(t), self.kernel.schedule.sigma(t)
        gain = alpha * POWER / (alpha**2 * POWER + sigma**2)
        return Dirac(torch.fft.ifft(gain * torch.fft.fft(x_t)).real, layout)


BAND = (_FREQUENCY.abs() >= 0.235 * math.pi) & (_FREQUENCY.abs() <= 0.42 * math.pi)
"""Above the peak, where the power falls from ten times that of the innovations to .7 of it."""


def innovations(power: Tensor) -> float:
    """The variance of x_n - 1.6 x_{n-1} + .81 x_{n-2}; of the signal itself .01."""
    return 0.01 * float((power / POWER).mean())


def in_band(power: Tensor) -> float:
    """.01 times the power in BAND relative to the signal's; of the signal itself .01."""
    return 0.01 * float(power[BAND].sum() / POWER[BAND].sum())


def measured(x: Tensor) -> Tensor:
    """The power of signals (B, SIZE) at each frequency, (SIZE,)."""
    return torch.fft.fft(x).abs().square().mean(0) / SIZE


def expected(table: BetaTable, ancestral: bool) -> Tensor:
    """`measured` of what a sampler makes of N(0, 1), on average: variances step by step."""
    variance, steps = torch.ones(SIZE, dtype=torch.float64), len(table.betas)
    for k in range(steps, 0, -1):
        a, s, b, r = (f((k - j) / steps) for j in (0, 1) for f in (table.alpha, table.sigma))
        gain = a * POWER / (a * a * POWER + s * s)
        drawn = (r / s) * math.sqrt(1 - (a / b) ** 2) if ancestral else 0.0
        step = b * gain + math.sqrt(r * r - drawn * drawn) * (1 - a * gain) / s
        variance = step**2 * variance + drawn**2
    return variance


def spaced(steps: int) -> BetaTable:
    """So many levels of the linear table, evenly spaced."""
    full = SCHEDULES["linear-1000"]
    bars = [full.alpha(round(1000 * k / steps) / 1000) ** 2 for k in range(steps + 1)]
    return BetaTable(tuple(1 - b / a for a, b in pairwise(bars)))
