"""The noise of states that have some already, beside what is added: `Above` schedules.

With z_0 = alpha_0 mu + sigma_0 eps_0 and z_t = alpha z_0 + sigma eps_1 = alpha_t mu + sigma_t eps,

    F = E[eps | z_t] = -sigma_t grad log q(z_t),
    E[z_0 | z_t] = (z_t - sigma^2 F / sigma_t) / alpha.

A network that is told of the whole noise has an easy task at small times, too, where what was added
is a small part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from unnoise.denoise.parametrizations import Coefficients, Direct
from unnoise.errors import ConfigError
from unnoise.kernels import Above, GaussianKernel, Schedule, TransitionKernel
from unnoise.spaces import Time


@final
@dataclass(frozen=True)
class WholeNoise(Direct):
    """F = eps of z_t = alpha_t mu + sigma_t eps: z_0 = (z_t - sigma^2 F / sigma_t) / alpha, of a
    kernel whose schedule is `Above` another one."""

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        assert isinstance(schedule, Above)  # `check` has seen to it
        alpha, sigma, whole = schedule.alpha(t), schedule.sigma(t), schedule.schedule.sigma(t)
        return Coefficients(1 / alpha, -(sigma**2) / (alpha * whole), 1.0, t)

    def check(self, kernel: TransitionKernel) -> None:
        found = kernel.schedule if isinstance(kernel, GaussianKernel) else kernel
        if not isinstance(found, Above):
            raise ConfigError(
                "WholeNoise is of states that have some noise already",
                value=type(found).__name__,
                fix="GaussianKernel(space, Above(schedule)), or the parametrization Noise",
            )
        super().check(kernel)
