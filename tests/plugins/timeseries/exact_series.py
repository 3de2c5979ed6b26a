"""Exact denoisers for Gaussian series, that speak the plugin's conditions."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Dirac, Distribution
from unnoise.model import Model
from unnoise.spaces import Layout, State, Time, tensor
from unnoise_timeseries.configuration import Configuration, Learned
from unnoise_timeseries.domain import TimeSeries, kernel_of


def ar1_covariance(rows: int, phi: float) -> np.ndarray[Any, Any]:
    """Of a stationary AR(1) with variance 1."""
    places = np.arange(rows)
    return phi ** np.abs(places[:, None] - places[None])


def conditional(
    covariance: np.ndarray[Any, Any], known: np.ndarray[Any, Any], values: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Mean and covariance of the unknown entries, given those where `known` is true."""
    a, b = ~known, known
    gain = np.linalg.solve(covariance[np.ix_(b, b)], covariance[np.ix_(b, a)]).T
    return gain @ values[known], covariance[np.ix_(a, a)] - gain @ covariance[np.ix_(b, a)]


@final
class ExactWindow(Denoiser):
    """E[x_0 | x_t, observed] for windows whose cells, flattened, are N(0, covariance)."""

    def __init__(self, kernel: Any, covariance: np.ndarray[Any, Any]) -> None:
        super().__init__()
        self.kernel = kernel
        self.covariance = covariance
        self.calls: list[Condition] = []

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        assert condition is not None
        assert layout.mask is not None
        self.calls.append(condition)
        x = tensor(x_t)
        target = layout.mask[0].flatten().numpy()
        given = condition["given"][0].flatten().numpy()
        np.testing.assert_array_equal(given, ~target)
        flat = condition["observed"].flatten(1).double().numpy()
        inner, cross = self.covariance[np.ix_(given, given)], self.covariance[np.ix_(given, target)]
        weights = np.linalg.solve(inner, cross)
        means = flat[:, given] @ weights
        rest = self.covariance[np.ix_(target, target)] - cross.T @ weights
        if "guess" in condition:  # the state counts from it, in units of the spread
            guess, spread = (
                condition[key].flatten(1).double().numpy()[:, target] for key in ("guess", "spread")
            )
            means = (means - guess) / spread
            rest = rest / np.outer(spread[0], spread[0])
        alpha, sigma = self.kernel.schedule.alpha(t), self.kernel.schedule.sigma(t)
        noisy = x.flatten(1).double().numpy()[:, target]
        total = alpha**2 * rest + sigma**2 * np.eye(len(rest))
        gain = alpha * np.linalg.solve(total, rest).T
        mean = means + (noisy - alpha * means) @ gain.T
        full = torch.zeros_like(x).flatten(1)
        full[:, torch.from_numpy(target)] = torch.from_numpy(mean).float()
        return Dirac(full.view(x.shape), layout)


def learned(columns: int, frequency: str = "1", phi: float = 0.5) -> Learned:
    names = tuple(f"c{k}" for k in range(columns))
    ones, zeros = (1.0,) * columns, (0.0,) * columns
    return Learned(
        limit=9.0,
        columns=names,
        mean=zeros,
        scale=ones,
        frequency=frequency,
        aware=False,
        dates=False,
        memory=(phi,) * columns,
        reach=9.0,
    )


def window_model(covariance: np.ndarray[Any, Any], window: int, columns: int, **own: Any) -> Model:
    own = {"learned": learned(columns), "held_out": 0.0, "prior": "bridge", **own}
    configuration = Configuration(window=window, **own)
    denoiser = ExactWindow(kernel_of(configuration), covariance)
    return Model(
        TimeSeries(),
        denoiser,
        configuration,
        TimeSeries().defaults(configuration),
    )


class Recorder(nn.Module):
    """Stands for the recurrent network: its condition is the newest row, in scaled units, and the
    log of the scale."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    def read(self, seen: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        k = self.columns
        return torch.cat([seen[..., :k], seen[..., -k:]], -1), None


@final
class ExactHead(Denoiser):
    """E[x_0 | x_t, past] of a VAR(1) x' = A x + N(0, Q), in units of the window's scale."""

    def __init__(self, kernel: Any, A: np.ndarray[Any, Any], Q: np.ndarray[Any, Any]) -> None:
        super().__init__()
        self.kernel, self.network = kernel, Recorder(len(A))
        self.A, self.Q = torch.from_numpy(A), torch.from_numpy(Q)

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        assert condition is not None
        k = len(self.A)
        hidden, x = condition["hidden"][:, 0].double(), tensor(x_t)[:, 0].double()
        scale = hidden[0, k:].exp()
        mean = (hidden[:, :k] * scale) @ self.A.T / scale
        rest = self.Q / scale[:, None] / scale[None]
        alpha, sigma = self.kernel.schedule.alpha(t), self.kernel.schedule.sigma(t)
        gain = alpha * rest @ torch.linalg.inv(alpha**2 * rest + sigma**2 * torch.eye(k))
        x0 = mean + (x - alpha * mean) @ gain.T
        return Dirac(x0[:, None].to(tensor(x_t).dtype), layout)
