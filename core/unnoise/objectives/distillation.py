"""Progressive distillation: a student learns to do two steps of its teacher in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from unnoise.denoise import Condition, Denoiser, NetworkDenoiser
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.objectives.base import Objective
from unnoise.objectives.batch import Batch
from unnoise.objectives.weighted import TruncatedSNR
from unnoise.samplers import grids
from unnoise.spaces import Layout, Time, tensor


@final
@dataclass(frozen=True, eq=False)
class Distillation(Objective):
    """max(SNR, 1) |x_target - E[x_0 | x_t]|^2 / d at t = 1/N .. 1 (Salimans & Ho 2022).

    Times are those of the uniform grids of N and 2 N steps, so on a kernel of T discrete steps
    they are multiples of 1 / T. The student's prediction is taken before it is clipped, since a
    clipped one has no gradient.

    Attributes
    ----------
    teacher : a denoiser on the student's kernel, guided or not, good at 2 N steps of DDIM. It is
        moved to the device of the batch.
    steps : N, the steps of the student.
    """

    teacher: Denoiser = field(repr=False)
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError("a student takes at least one step", value=self.steps, limit=">= 1")
        _gaussian(self.teacher)
        _ = self._times  # an error of the grid comes now

    @cached_property
    def _times(self) -> Float64[Tensor, " times"]:
        """0 .. 1: the student's times are every second one."""
        return grids.uniform(self.teacher.kernel, 2 * self.steps).flip(0)

    def others(self) -> Mapping[str, nn.Module]:
        return {}  # the teacher has learned

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        # the teacher's kernel is the student's too, and its schedule does not learn
        kernel, layout = _gaussian(self.teacher), batch.layout
        i = 2 * (noise.times() * self.steps).long()
        s, middle, t = (self._times[i + k].to(layout.device) for k in range(3))
        x_t = tensor(kernel.marginal(batch.x0, t, layout).sample(noise))
        with torch.no_grad():
            teacher = self.teacher.to(layout.device)
            target = distilled_target(teacher, x_t, t, s, layout, batch.condition, middle)
        mean = _raw_mean(denoiser, kernel, x_t, t, layout, batch.condition)
        snr = torch.as_tensor(kernel.schedule.alpha(t) / kernel.schedule.sigma(t)) ** 2
        squares = layout.sum((target - mean).double() ** 2)
        return TruncatedSNR()(snr) * squares / kernel.space.dim(layout)


def distilled_target(
    teacher: Denoiser,
    x_t: Float[Tensor, "rows ..."],
    t: Time,
    s: Time,
    layout: Layout,
    condition: Condition = None,
    middle: Time | None = None,
) -> Float[Tensor, "rows ..."]:
    """The x_0 whose one DDIM step from t to s ends where two steps of the teacher end.

    With z'' the state after the teacher's steps t -> `middle` -> s, by default (t + s)/2, and
    f = sigma_s / sigma_t,

        x_0 = (z'' - f x_t) / (alpha_s - f alpha_t),

    which at s = 0 is the teacher's second prediction. It is an average of the teacher's two
    predictions with positive weights, so it lies in the range that they are clipped to, if they
    are, and is not clipped itself.
    """
    kernel = _gaussian(teacher)
    middle = (t + s) / 2 if middle is None else middle
    x = x_t
    for a, b in ((t, middle), (middle, s)):
        law = Dirac(teacher(x, a, layout, condition).mean, layout)
        x = kernel.bridge(x, law, a, b, layout, eta=0.0).mean
    f = kernel.schedule.sigma(s) / kernel.schedule.sigma(t)
    gain = kernel.schedule.alpha(s) - f * kernel.schedule.alpha(t)
    return (x - layout.expand(f, x) * x_t) / layout.expand(gain, x)


def _raw_mean(
    denoiser: Denoiser,
    kernel: GaussianKernel,
    x_t: Tensor,
    t: Time,
    layout: Layout,
    condition: Condition,
) -> Tensor:
    if not isinstance(denoiser, NetworkDenoiser):
        return tensor(denoiser(x_t, t, layout, condition).mean)
    output = denoiser.output(x_t, t, layout, condition, kernel)
    return tensor(denoiser.parametrization.law(kernel, output, x_t, t, layout).mean)


def _gaussian(denoiser: Denoiser) -> GaussianKernel:
    if not isinstance(denoiser.kernel, GaussianKernel):
        raise ConfigError(
            "progressive distillation follows the ODE of a GaussianKernel",
            value=type(denoiser.kernel).__name__,
        )
    return denoiser.kernel
