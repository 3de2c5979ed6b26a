"""Guidance by a prompt, away from a negative one.

    m = u + w (c - u),    c = E[x_0 | x_t, prompt],    u = E[x_0 | x_t, negative prompt]

where w is the scale, 1 outside an interval of noise levels (Kynkaanniemi 2024). With rescale r the
spread that the extrapolation adds is taken back (Lin 2023),

    m' = m (r std(c) / std(m) + 1 - r),

std being over the entries of a picture. On x_0 the rule is that on eps, since both are affine in
each other at one x_t; a learned variance is that of the prompt, as in GLIDE, which extrapolates the
channels of eps alone. Scale 1 is the conditional law and scale 0 the one of the negative prompt,
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Dirac, Distribution, Gaussian
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.spaces import Layout, State, Time, tensor

NEGATIVE: Final = "negative_"
"""Before the names of what stands for the negative prompt in a condition."""


@final
@dataclass(frozen=True)
class Guidance:
    """How strongly a prompt is followed.

    Attributes
    ----------
    scale : 0 not at all, 1 as trained.
    interval : (low, high) strengths of the noise between which the scale holds, in [0, 1]; the
        strength is sigma / sqrt(alpha^2 + sigma^2).
    rescale : from 0 to 1.
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise ConfigError("an interval of strengths", value=self.interval, limit="[0, 1]")
        if not 0 <= self.rescale <= 1:
            raise ConfigError("a rescale is a part", value=self.rescale, limit="[0, 1]")


@final
class Guided(Denoiser):
    """A denoiser that is told a condition, guided away from what the same condition says under
    names that begin with `NEGATIVE`.

    Parameters
    ----------
    clip : clamp the guided mean of x_0 to this range, which it may leave.
    """

    def __init__(
        self, denoiser: Denoiser, guidance: Guidance, clip: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        kernel = denoiser.kernel
        if not isinstance(kernel, GaussianKernel):
            raise ConfigError("this guidance needs a GaussianKernel", value=type(kernel).__name__)
        self.denoiser, self.kernel, self.schedule = denoiser, kernel, kernel.schedule
        self.guidance, self.clip = guidance, clip

    @property
    def evaluations(self) -> int:
        """Of the network, at most: outside the interval one is enough."""
        return self.denoiser.evaluations * (1 if self.guidance.scale in (0.0, 1.0) else 2)

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        told = dict(condition or {})
        negative = {n: told.pop(n) for n in list(told) if n.startswith(NEGATIVE)}
        scale = self._scale(t, layout)
        if bool((scale == 1).all()):
            return self.denoiser(x_t, t, layout, told)
        away = told | {name.removeprefix(NEGATIVE): value for name, value in negative.items()}
        if bool((scale == 0).all()):
            return self.denoiser(x_t, t, layout, away)
        u = tensor(self.denoiser(x_t, t, layout, away).mean)
        law = self.denoiser(x_t, t, layout, told)
        c = tensor(law.mean)
        mean = torch.lerp(u, c, scale.to(c).view(-1, *(1,) * (c.ndim - 1)))
        if self.guidance.rescale:
            mean = _rescaled(mean, c, self.guidance.rescale)
        if self.clip is not None:
            mean = mean.clamp(*self.clip)
        if isinstance(law, Gaussian):
            return Gaussian(mean, law.std, law.space, law.layout)
        return Dirac(mean, layout)

    def _scale(self, t: Time, layout: Layout) -> Tensor:
        """(B,) the scale at a time."""
        now = torch.as_tensor(t, dtype=torch.float64).cpu()
        alpha = torch.as_tensor(self.schedule.alpha(now))
        sigma = torch.as_tensor(self.schedule.sigma(now))
        strength = sigma / torch.hypot(alpha, sigma)
        low, high = self.guidance.interval
        inside = (strength >= low) & (strength <= high)
        scale = torch.where(inside, self.guidance.scale, 1.0)
        return scale.expand(layout.batch).to(layout.device)


def _rescaled(mean: Tensor, c: Tensor, part: float) -> Tensor:
    axes = tuple(range(1, c.ndim))
    ratio = c.std(axes, keepdim=True) / mean.std(axes, keepdim=True).clamp(min=1e-8)
    return mean * (part * ratio + (1 - part))
