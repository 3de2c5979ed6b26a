"""Progressive distillation: a student learns to do two steps of its teacher in one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.objectives.objectives import Batch, Objective
from unnoise.objectives.weighted import TruncatedSNR, raw_law
from unnoise.spaces import Layout, Time, tensor


@final
@dataclass(frozen=True, eq=False)
class Distillation(Objective):
    """max(SNR, 1) |x_target - E[x_0 | x_t]|^2 / d at t = 1/N .. 1 (Salimans & Ho 2022).

    Attributes
    ----------
    teacher : a denoiser on the student's kernel, guided or not, good at 2 N steps of DDIM.
    steps : N, the steps of the student.
    """

    teacher: Denoiser = field(repr=False)
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError("a student takes at least one step", value=self.steps, limit=">= 1")
        _gaussian(self.teacher)

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        layout, schedule = batch.layout, _gaussian(denoiser).schedule
        i = (noise.times().to(layout.device) * self.steps).floor()
        t, s = (i + 1) / self.steps, i / self.steps
        x_t = tensor(denoiser.kernel.marginal(batch.x0, t, layout).sample(noise))
        with torch.no_grad():
            target = distilled_target(self.teacher, x_t, t, s, layout, batch.condition)
        mean = tensor(raw_law(denoiser, x_t, t, layout, batch).mean)
        weight = TruncatedSNR()(torch.as_tensor(schedule.alpha(t) / schedule.sigma(t)) ** 2)
        squares = layout.sum((target - mean).double() ** 2)
        return weight * squares / denoiser.kernel.space.dim(layout)


def distilled_target(
    teacher: Denoiser, x_t: Tensor, t: Time, s: Time, layout: Layout, condition: Condition = None
) -> Tensor:
    """The x_0 whose one DDIM step from t to s ends where two steps of the teacher end.

    With z'' the state after the teacher's steps t -> (t + s)/2 -> s and f = sigma_s / sigma_t,

        x_0 = (z'' - f x_t) / (alpha_s - f alpha_t),

    which at s = 0 is the teacher's second prediction. It is not clipped.
    """
    kernel = _gaussian(teacher)
    middle = (t + s) / 2
    x = x_t
    for a, b in ((t, middle), (middle, s)):
        law = Dirac(teacher(x, a, layout, condition).mean, layout)
        x = kernel.bridge(x, law, a, b, layout, eta=0.0).mean
    f = kernel.schedule.sigma(s) / kernel.schedule.sigma(t)
    gain = kernel.schedule.alpha(s) - f * kernel.schedule.alpha(t)
    return (x - layout.expand(f, x) * x_t) / layout.expand(gain, x)


def _gaussian(denoiser: Denoiser) -> GaussianKernel:
    if not isinstance(denoiser.kernel, GaussianKernel):
        raise ConfigError(
            "progressive distillation follows the ODE of a GaussianKernel",
            value=type(denoiser.kernel).__name__,
        )
    return denoiser.kernel
