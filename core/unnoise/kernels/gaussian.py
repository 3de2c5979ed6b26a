"""The Gaussian kernel: x_t = alpha_t x_0 + sigma_t eps on any linear space.

    q(x_t | x_0) = N(alpha_t x_0, sigma_t^2)
    q(x_t | x_s) = N((alpha_t / alpha_s) x_s, sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2)

With r = alpha_t sigma_s / (alpha_s sigma_t) and x_0 known, Bayes' posterior and the family around
it (Song 2021, DDIM) are

    q_eta(x_s | x_t, x_0) = N(alpha_s x_0 + k (x_t - alpha_t x_0), c^2),
    c = eta sigma_s sqrt(1 - r^2),    k = sqrt(sigma_s^2 - c^2) / sigma_t,

the posterior at eta = 1. Over x_0 ~ N(m, v) that is N(alpha_s m + k (x_t - alpha_t m), c^2 +
(alpha_s - k alpha_t)^2 v).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unnoise.distributions import Dirac, Distribution, Gaussian, Implicit, Mixture
from unnoise.errors import InputError
from unnoise.kernels.base import TransitionKernel
from unnoise.kernels.process import check_time, check_times
from unnoise.kernels.schedules import Schedule
from unnoise.spaces import DataSpace, Layout, State, Time, tensor


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

    def modules(self) -> Iterable[nn.Module]:
        return self.schedule.modules()

    def marginal(self, x0: State, t: Time, layout: Layout) -> Gaussian:
        """N(alpha_t x_0, sigma_t^2)."""
        check_time(t)
        x0 = tensor(x0)
        alpha = layout.expand(self.schedule.alpha(t), x0)
        return Gaussian(alpha * x0, self.schedule.sigma(t), self.space, layout)

    def transition(self, x_s: State, s: Time, t: Time, layout: Layout) -> Gaussian:
        """N((alpha_t / alpha_s) x_s, sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2)."""
        check_times(s, t)
        x_s = tensor(x_s)
        ratio = self.schedule.alpha(t) / self.schedule.alpha(s)
        variance = self.schedule.sigma(t) ** 2 - (ratio * self.schedule.sigma(s)) ** 2
        return Gaussian(layout.expand(ratio, x_s) * x_s, _root(variance), self.space, layout)

    @overload
    def reverse(
        self, x_t: State, x0: Dirac | Gaussian, t: Time, s: Time, layout: Layout
    ) -> Gaussian: ...
    @overload
    def reverse(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout
    ) -> Gaussian | Implicit | Mixture: ...
    def reverse(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout
    ) -> Gaussian | Implicit | Mixture:
        """The posterior of x_s, integrated over a Dirac, Gaussian or Implicit law of x_0, or over
        a mixture of them."""
        return self.bridge(x_t, x0, t, s, layout, eta=1.0)

    @overload
    def bridge(
        self, x_t: State, x0: Dirac | Gaussian, t: Time, s: Time, layout: Layout, eta: float
    ) -> Gaussian: ...
    @overload
    def bridge(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout, eta: float
    ) -> Gaussian | Implicit | Mixture: ...
    def bridge(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout, eta: float
    ) -> Gaussian | Implicit | Mixture:
        """q_eta(x_s | x_t, x_0), 0 <= eta <= 1, integrated over the law of x_0.

        eta = 0 is deterministic for a point; a Gaussian law adds its own variance, with the exact
        one Analytic-DPM's optimum.
        """
        if isinstance(x0, Implicit):
            return x0.then(lambda point: self.bridge(x_t, point, t, s, layout, eta))
        if isinstance(x0, Mixture):
            return x0.each(lambda one: self.bridge(x_t, one, t, s, layout, eta))
        check_times(s, t)
        x_t = tensor(x_t)
        alpha_t, sigma_t = self.schedule.alpha(t), self.schedule.sigma(t)
        alpha_s, sigma_s = self.schedule.alpha(s), self.schedule.sigma(s)
        r = (alpha_t * sigma_s) / (alpha_s * sigma_t)
        c = eta * sigma_s * _root(1 - r**2)
        # sqrt(sigma_s^2 - c^2) without its cancellation where r is small
        k = sigma_s * _root(1 - eta**2 + (eta * r) ** 2) / sigma_t
        c0 = alpha_s - k * alpha_t
        mean = combine(layout, k, x_t, c0, _mean(x0))
        std: float | Tensor = c
        if isinstance(x0, Gaussian):
            if x0.elementwise:
                c, c0 = layout.expand(c, mean), layout.expand(c0, mean)
            std = _root(c**2 + (c0 * x0.std) ** 2)
        return Gaussian(mean, std, self.space, layout)

    def prior(self, layout: Layout) -> Gaussian:
        """N(0, sigma_1^2); for VE that is sigma_max, not 1."""
        zero = torch.zeros(layout.shape, dtype=layout.dtype, device=layout.device)
        return Gaussian(zero, self.schedule.sigma(1.0), self.space, layout)

    @overload
    def reconstruction(
        self, x_t: State, x0: Dirac | Gaussian, t: Time, layout: Layout
    ) -> Gaussian: ...
    @overload
    def reconstruction(
        self, x_t: State, x0: Distribution, t: Time, layout: Layout
    ) -> Gaussian | Mixture: ...
    def reconstruction(
        self, x_t: State, x0: Distribution, t: Time, layout: Layout
    ) -> Gaussian | Mixture:
        """The law of x_0 itself when it has a density, else N(mean, (sigma_t / alpha_t)^2)."""
        if isinstance(x0, Gaussian):
            return x0
        if isinstance(x0, Mixture):
            return x0.each(lambda one: self.reconstruction(x_t, one, t, layout))
        check_time(t)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        if bool(torch.as_tensor(alpha == 0).any()):
            raise InputError(
                "nothing of x_0 is left at this time: a point prediction has no width there",
                value=t,
                limit="alpha(t) > 0",
                fix="take more than one step",
            )
        return Gaussian(_mean(x0), sigma / alpha, self.space, layout)


def combine(
    layout: Layout,
    a: Time,
    x: Float[Tensor, "rows ..."],
    b: Time,
    y: Float[Tensor, "rows ..."],
) -> Float[Tensor, "rows ..."]:
    """a x + b y with per-sample or shared coefficients, in as few passes as possible."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return layout.expand(a, x) * x + layout.expand(b, y) * y
    return (x * a).add_(y, alpha=b)  # in place: a second temporary would double the time


def _mean(x0: Distribution) -> Tensor:
    if not isinstance(x0, Dirac | Gaussian):
        raise InputError(
            "a Gaussian kernel needs a Dirac or Gaussian prediction of x_0",
            value=type(x0).__name__,
        )
    return tensor(x0.mean)


@overload
def _root(variance: float) -> float: ...
@overload
def _root(variance: Tensor) -> Tensor: ...
@overload
def _root(variance: float | Tensor) -> float | Tensor: ...
def _root(variance: float | Tensor) -> float | Tensor:
    """Square root of a variance that rounding may have made slightly negative."""
    if isinstance(variance, Tensor):
        return variance.clamp(min=0).sqrt()
    return math.sqrt(max(variance, 0.0))
