"""Analytic-DPM (Bao 2022): the optimal reverse variance, from statistics of the data.

What is unknown of x_0 at time t, on average over x_t and over its entries, is

    v(t) = E Var[x_0 | x_t] / d = (sigma_t / alpha_t)^2 (1 - Gamma_t),   Gamma_t = E|eps_hat|^2 / d.

Gamma is estimated once. A denoiser whose law is N(E[x_0 | x_t], v(t)) then makes the ordinary
`reverse` optimal, for any grid and for the whole DDIM family: betatilde + c0^2 v.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.denoise.base import Condition, Denoiser
from unnoise.denoise.wrapped import Wrapper
from unnoise.distributions import Distribution, Gaussian
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, Time, tensor


@runtime_checkable
class Data(Protocol):
    """A batch of clean data, such as `unnoise.objectives.Batch`."""

    @property
    def x0(self) -> State: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def condition(self) -> Condition: ...


@final
class AnalyticVariance(Wrapper):
    """`denoiser` with the variance v(t) of x_0, isotropic: N(its mean, v(t)).

    Made by `analytic_variance`. In a bundle the table is a part of the weights.

    Parameters
    ----------
    times : (N,) increasing, N >= 2; between them the table is interpolated linearly.
    ratio : (N,) v(t) in units of what it is for data of unit variance, sigma^2/(alpha^2 + sigma^2),
        which is of order 1 at all times. Negative entries, estimates of Gamma above 1, count as 0.
    largest : upper limit of the standard deviation sqrt(v), (b - a) / 2 for data in [a, b].
    """

    analytic_times: Tensor
    analytic_ratio: Tensor
    analytic_largest: Tensor

    def __init__(
        self,
        denoiser: Denoiser,
        times: Float[Tensor, " times"],
        ratio: Float[Tensor, " times"],
        largest: float = float("inf"),
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.kernel = denoiser.kernel
        self.schedule = _gaussian(denoiser.kernel).schedule
        if times.ndim != 1 or len(times) < 2 or times.shape != ratio.shape:
            raise ConfigError(
                "a table of variances has two times or more, and one entry for each",
                value=(tuple(times.shape), tuple(ratio.shape)),
            )
        self.register_buffer("analytic_times", times.double())
        self.register_buffer("analytic_ratio", ratio.double())
        self.register_buffer("analytic_largest", torch.tensor(largest, dtype=torch.float64))

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    @property
    def fields(self) -> Mapping[str, Any]:
        return {"times": len(self.analytic_times)}

    @classmethod
    def around(cls, denoiser: Denoiser, fields: Mapping[str, Any]) -> AnalyticVariance:
        times = torch.linspace(0, 1, fields["times"], dtype=torch.float64)
        return cls(denoiser, times, torch.zeros_like(times))

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        mean = tensor(self.denoiser(x_t, t, layout, condition).mean)
        return Gaussian(mean, self.std(t), self.kernel.space, layout)

    def std(self, t: Time) -> Time:
        """sqrt(v(t))."""
        table, at = self.analytic_times, torch.as_tensor(t, dtype=torch.float64)
        at = at.to(table.device)
        i = torch.searchsorted(table, at).clamp(1, len(table) - 1)
        weight = ((at - table[i - 1]) / (table[i] - table[i - 1])).clamp(0, 1)
        ratio = torch.lerp(self.analytic_ratio[i - 1], self.analytic_ratio[i], weight)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        unit = torch.as_tensor(sigma / (alpha**2 + sigma**2) ** 0.5)
        std = torch.minimum(unit.to(ratio) * ratio.clamp(min=0).sqrt(), self.analytic_largest)
        return std if isinstance(t, Tensor) else float(std)


@torch.no_grad()
def analytic_variance(
    denoiser: Denoiser,
    data: Iterable[Data],
    *,
    times: Float64[Tensor, " times"] | None = None,
    bounds: tuple[float, float] | None = None,
    statistic: Literal["noise", "error"] = "noise",
    seed: int = 0,
) -> AnalyticVariance:
    """Estimate v(t) and put it around `denoiser`.

    Parameters
    ----------
    data : batches of clean data; each is used once at every time.
    times : where v is estimated: by default all of a discrete kernel's, else 100 equal steps and
        ten in the first of them, where a bound of 1000 steps spends most.
    bounds : the range [a, b] of the data, if they have one: sqrt(v) is at most (b - a) / 2.
    statistic : "noise" is the published (1 - Gamma), right for an exact denoiser; "error" is
        E|x_0 - mean|^2 / d, the same for an exact one and for others the variance that the bound
        is smallest for. It also has less sampling noise near t = 1, where 1 - Gamma is divided by
        alpha^2.

    Raises
    ------
    InputError : no data, or "noise" at a time at which the signal is gone.
    """
    kernel = _gaussian(denoiser.kernel)
    schedule = kernel.schedule
    if times is None:
        times = torch.arange(1, 101, dtype=torch.float64) / 100
        times = torch.cat([times[:9] / 10, times])
        if kernel.steps is not None:
            times = torch.arange(1, kernel.steps + 1, dtype=torch.float64) / kernel.steps
    total = torch.zeros_like(times)
    entries, seen = 0.0, 0
    for batch in data:
        layout, x0 = batch.layout, tensor(batch.x0)
        noise = NoiseSource(seed, range(seen, seen + layout.batch))
        seen += layout.batch
        entries += float(kernel.space.dim(layout).sum())
        for k, t in enumerate(times.tolist()):
            x_t = tensor(kernel.marginal(x0, t, layout).sample(noise))
            mean = tensor(denoiser(x_t, t, layout, batch.condition).mean)
            alpha, sigma = schedule.alpha(t), schedule.sigma(t)
            residual = x0 - mean if statistic == "error" else (x_t - alpha * mean) / sigma
            total[k] += float(layout.sum(residual.double() ** 2).sum())
    if not seen:
        raise InputError("the variance is estimated from data, and there are none")
    alpha, sigma = torch.as_tensor(schedule.alpha(times)), torch.as_tensor(schedule.sigma(times))
    average = total / entries
    if statistic == "error":
        ratio = average * (alpha**2 + sigma**2) / sigma**2
    else:
        ratio = (1 - average) * (alpha**2 + sigma**2) / alpha**2
    if not bool(torch.isfinite(ratio).all()):
        raise InputError(
            "Gamma says nothing where the signal is gone, alpha = 0",
            value=float(times[~torch.isfinite(ratio)][0]),
            fix="use statistic='error'",
        )
    largest = float("inf") if bounds is None else (bounds[1] - bounds[0]) / 2
    return AnalyticVariance(denoiser, times, ratio, largest)


def _gaussian(kernel: TransitionKernel) -> GaussianKernel:
    if not isinstance(kernel, GaussianKernel):
        raise ConfigError(
            "an analytic variance needs a GaussianKernel", value=type(kernel).__name__
        )
    return kernel
