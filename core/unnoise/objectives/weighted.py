"""Weighted denoising objectives for Gaussian kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.denoise import Denoiser, NetworkDenoiser
from unnoise.distributions import Distribution
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, training_times
from unnoise.noise import NoiseSource
from unnoise.objectives.base import Objective
from unnoise.objectives.batch import Batch
from unnoise.objectives.times import ImportanceTimes, TimeLaw, d_gamma
from unnoise.spaces import Layout, State, Time, tensor


class Weighting(ABC):
    """How much the squared error of x_0 counts, given the signal-to-noise ratio alpha^2/sigma^2."""

    @abstractmethod
    def __call__(self, snr: Tensor) -> Tensor:
        """(B,) weights of |x_0 - E[x_0 | x_t]|^2."""


@final
@dataclass(frozen=True)
class MinSNR(Weighting):
    """min(SNR, gamma) (Hang 2023): on eps min(SNR, gamma) / SNR, on v min(SNR, gamma)/(SNR + 1)."""

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise ConfigError("gamma is positive", value=self.gamma, limit="> 0")

    def __call__(self, snr: Tensor) -> Tensor:
        return snr.clamp(max=self.gamma)


@final
@dataclass(frozen=True)
class TruncatedSNR(Weighting):
    """max(SNR, 1) (Salimans & Ho 2022): the error of eps or that of x_0, whichever is larger."""

    def __call__(self, snr: Tensor) -> Tensor:
        return snr.clamp(min=1.0)


@final
@dataclass(frozen=True)
class Weighted(Objective):
    """weighting(SNR) |x_0 - E[x_0 | x_t]|^2 / d at times as in `Simple`."""

    weighting: Weighting = field(default_factory=MinSNR)

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        kernel, layout = _gaussian(denoiser), batch.layout
        t = training_times(kernel, noise.times().to(layout.device))
        snr = torch.as_tensor(kernel.schedule.alpha(t) / kernel.schedule.sigma(t)) ** 2
        return self.weighting(snr) * _mean_square(denoiser, batch, t, noise)


@final
@dataclass(frozen=True)
class LikelihoodWeighted(Objective):
    """Maximum-likelihood training of the reverse SDE, lambda = g^2 (Song 2021):

        g^2 |score - grad log q(x_t | x_0)|^2 / (2 Z d p(t)) = gamma' |eps - eps_hat|^2 / (2 Z d p)

    averages to the bound's integral over Z and the dimension. At the default times, p = gamma'/Z,
    it is half the plain error of the noise. Times spread evenly over consecutive sample numbers.
    """

    times: TimeLaw = field(default_factory=ImportanceTimes)

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        kernel, layout = _gaussian(denoiser), batch.layout
        if kernel.steps is not None:
            raise ConfigError(
                "likelihood weighting needs a continuous clock",
                value=type(kernel.schedule).__name__,
                fix="use VariationalBound(), its counterpart for a table of steps",
            )
        schedule = kernel.schedule
        t = self.times.times(schedule, noise.times()).to(layout.device)
        snr = torch.as_tensor(schedule.alpha(t) / schedule.sigma(t)) ** 2
        weight = 0.5 * snr
        if not isinstance(self.times, ImportanceTimes):
            normaliser = ImportanceTimes(self.times.eps).normaliser(schedule)
            weight = weight * d_gamma(schedule, t) / self.times.density(schedule, t) / normaliser
        return weight * _mean_square(denoiser, batch, t, noise)


def raw_law(denoiser: Denoiser, x_t: State, t: Time, layout: Layout, batch: Batch) -> Distribution:
    """The prediction to train: that of a network before it is clipped, since a clipped prediction
    has no gradient."""
    if isinstance(denoiser, NetworkDenoiser):
        output = denoiser.output(x_t, t, layout, batch.condition)
        return denoiser.parametrization.law(denoiser.kernel, output, x_t, t, layout)
    return denoiser(x_t, t, layout, batch.condition)


def _mean_square(denoiser: Denoiser, batch: Batch, t: Tensor, noise: NoiseSource) -> Tensor:
    """(B,) |x_0 - E[x_0 | x_t]|^2 / d at one draw of x_t, float64."""
    layout, kernel = batch.layout, denoiser.kernel
    x_t = kernel.noisy(batch.x0, t, layout, noise)
    mean = tensor(raw_law(denoiser, x_t, t, layout, batch).mean)
    squares = layout.sum((tensor(batch.x0) - mean).double() ** 2)
    return squares / kernel.space.dim(layout)


def _gaussian(denoiser: Denoiser) -> GaussianKernel:
    if not isinstance(denoiser.kernel, GaussianKernel):
        raise ConfigError(
            "a weighting by signal and noise needs a GaussianKernel",
            value=type(denoiser.kernel).__name__,
            fix="use Simple(), Hybrid() or VariationalBound()",
        )
    return denoiser.kernel
