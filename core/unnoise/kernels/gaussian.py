"""The Gaussian kernel: x_t = alpha_t x_0 + sigma_t eps on any linear space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unnoise.distributions import Dirac, Distribution, Gaussian
from unnoise.errors import InputError
from unnoise.kernels.base import TransitionKernel
from unnoise.kernels.schedules import Schedule
from unnoise.spaces import DataSpace, Layout, State, Time


@final
@dataclass(frozen=True)
class GaussianKernel(TransitionKernel):
    """q(x_t | x_s) = N((alpha_t / alpha_s) x_s, sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2).

    Holds for every schedule with decreasing signal-to-noise ratio: VP, sub-VP, VE, flow matching.
    The noise is projected onto the space, so that on ZeroCoM every state keeps a zero mean.
    """

    space: DataSpace
    schedule: Schedule

    @property
    def steps(self) -> int | None:
        return self.schedule.steps

    def marginal(self, x0: State, t: Time, layout: Layout) -> Gaussian:
        """N(alpha_t x_0, sigma_t^2)."""
        x0 = _tensor(x0)
        alpha = layout.expand(self.schedule.alpha(t), x0)
        return Gaussian(alpha * x0, self.schedule.sigma(t), self.space, layout)

    def transition(self, x_s: State, s: Time, t: Time, layout: Layout) -> Gaussian:
        """N((alpha_t / alpha_s) x_s, sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2)."""
        x_s = _tensor(x_s)
        ratio = self.schedule.alpha(t) / self.schedule.alpha(s)
        variance = self.schedule.sigma(t) ** 2 - (ratio * self.schedule.sigma(s)) ** 2
        return Gaussian(layout.expand(ratio, x_s) * x_s, _root(variance), self.space, layout)

    def reverse(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout
    ) -> Gaussian:
        """The posterior of x_s, integrated over a Dirac or Gaussian law of x_0."""
        return self.bridge(x_t, x0, t, s, layout, eta=1.0)

    def bridge(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout, eta: float
    ) -> Gaussian:
        """The family of non-Markovian posteriors with the same marginals (Song 2021, DDIM).

        With the posterior's variance v = sigma_s^2 (1 - (alpha_t sigma_s / alpha_s sigma_t)^2),
        c = eta sqrt(v) and k = sqrt(sigma_s^2 - c^2) / sigma_t,

            x_s = alpha_s x_0 + k (x_t - alpha_t x_0) + c z.

        eta = 1 is Bayes' posterior, eta = 0 is deterministic. A Gaussian law of x_0 adds
        (alpha_s - k alpha_t)^2 Var[x_0]: with the exact variance, Analytic-DPM's optimum.
        """
        x_t = _tensor(x_t)
        alpha_t, sigma_t = self.schedule.alpha(t), self.schedule.sigma(t)
        alpha_s, sigma_s = self.schedule.alpha(s), self.schedule.sigma(s)
        ratio = (alpha_t * sigma_s) / (alpha_s * sigma_t)
        c = eta * sigma_s * _root(1 - ratio**2)
        k = _root(sigma_s**2 - c**2) / sigma_t
        c0 = alpha_s - k * alpha_t
        mean = combine(layout, k, x_t, c0, _tensor(x0.mean))
        if isinstance(x0, Dirac):
            return Gaussian(mean, c, self.space, layout)
        if isinstance(x0, Gaussian):
            return Gaussian(mean, _spread(layout, c, c0, x0, mean), self.space, layout)
        raise InputError(
            "a Gaussian kernel needs a Dirac or Gaussian prediction of x_0",
            value=type(x0).__name__,
        )

    def prior(self, layout: Layout) -> Gaussian:
        """N(0, sigma_1^2); for VE that is sigma_max, not 1."""
        zero = torch.zeros(layout.shape, dtype=layout.dtype, device=layout.device)
        return Gaussian(zero, self.schedule.sigma(1.0), self.space, layout)

    def reconstruction(
        self, x_t: State, x0: Distribution, t: Time, layout: Layout
    ) -> Gaussian:
        """The law of x_0 itself when it has a density, else N(mean, (sigma_t / alpha_t)^2)."""
        if isinstance(x0, Gaussian):
            return x0
        std = self.schedule.sigma(t) / self.schedule.alpha(t)
        return Gaussian(_tensor(x0.mean), std, self.space, layout)


def combine(layout: Layout, a: Time, x: Tensor, b: Time, y: Tensor) -> Tensor:
    """a x + b y with per-sample or shared coefficients, in as few passes as possible."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return layout.expand(a, x) * x + layout.expand(b, y) * y
    return torch.add(x * a, y, alpha=b)


def _spread(layout: Layout, c: Time, c0: Time, x0: Gaussian, mean: Tensor) -> Time:
    """sqrt(c^2 + c0^2 Var[x_0]), isotropic when the law of x_0 is."""
    if isinstance(x0.std, Tensor) and x0.std.shape == mean.shape and mean.ndim > 1:
        c, c0 = layout.expand(c, mean), layout.expand(c0, mean)
    return _root(c**2 + (c0 * x0.std) ** 2)


def _root(variance: Time) -> Time:
    """Square root of a variance that rounding may have made slightly negative."""
    if isinstance(variance, Tensor):
        return variance.clamp(min=0).sqrt()
    return math.sqrt(max(variance, 0.0))


def _tensor(x: State) -> Tensor:
    if not isinstance(x, Tensor):
        raise InputError("a Gaussian kernel takes one tensor", value=type(x).__name__)
    return x
