"""What a network sees of the noise level, where the time is not enough.

label = (gamma(t) - low) / (high - low),    gamma(t) = -log SNR(t) = log(sigma_t^2 / alpha_t^2)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from unnoise.denoise.parametrizations import Coefficients, GaussianParametrization
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.spaces import Layout, State, Time


@final
@dataclass(frozen=True)
class ByLogSNR(GaussianParametrization):
    """`parametrization` with the label (gamma - low) / (high - low), gamma = -log SNR(t).

    While a schedule is learned, the noise at a time t changes from step to step and with it what
    the network has to do there; at a given gamma it does not (Kingma 2021). From `low` to `high`
    the label runs from 0 to 1, as time does.
    """

    parametrization: GaussianParametrization
    low: float = -13.3
    high: float = 5.0

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        gamma = -schedule.log_snr(t)
        label = (gamma - self.low) / (self.high - self.low)
        return self.parametrization.affine(schedule, t)._replace(label=label)

    def inputs(self, kernel: TransitionKernel, x_t: State, t: Time, layout: Layout) -> State:
        return self.parametrization.inputs(kernel, x_t, t, layout)

    def label(self, kernel: TransitionKernel, t: Time) -> Time:
        assert isinstance(kernel, GaussianKernel)  # `check` has seen to it
        return self.affine(kernel.schedule, t).label
