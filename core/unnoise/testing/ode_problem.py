"""A probability-flow ODE with a known solution, on which orders of convergence are measured."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from unnoise.denoise import Denoiser
from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.samplers import grids
from unnoise.spaces import Euclidean, Layout, tensor
from unnoise.testing.oracles import MixtureOracle, PointEstimate

VP: Final = GaussianKernel(Euclidean(), VPLinear())


def start_points() -> Tensor:
    return torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]


@cache
def ode_problem() -> tuple[Denoiser, Tensor]:
    """A mixture of two Gaussians under VP, and its ODE's solution at t = 0.01 by DOP853."""
    two = [torch.tensor(v, dtype=torch.float64) for v in ([0.5, 0.5], [-1.0, 1.0], [0.5, 0.5])]
    model = PointEstimate(MixtureOracle(VP, *two))
    schedule = VP.schedule
    layout = Layout.dense(9, (1,), dtype=torch.float64)

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        x = torch.tensor(y)[:, None]
        x0 = tensor(model(x, t, layout).mean)
        noise = (x - schedule.alpha(t) * x0) / schedule.sigma(t)
        return (schedule.d_alpha(t) * x0 + schedule.d_sigma(t) * noise)[:, 0].numpy()

    start = start_points()[:, 0].numpy()
    solved = solve_ivp(slope, (1, 0.01), start, "DOP853", rtol=1e-12, atol=1e-13)
    return model, torch.tensor(solved.y[:, -1])[:, None]


@cache
def even_grid(n: int) -> Tensor:
    """n steps, uniform in log SNR, from 1 to 0.01."""
    schedule = VP.schedule
    first, last = (float(schedule.log_snr(t)) for t in (1.0, 0.01))
    times = [1.0]
    for value in np.linspace(first, last, n + 1)[1:-1]:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if schedule.log_snr(middle) > value else (low, middle)
        times.append((low + high) / 2)
    return grids.custom([*times, 0.01])
