"""Guidance by a prompt, away from a negative one.

    m = u + w (c - u),    c = E[x_0 | x_t, prompt],    u = E[x_0 | x_t, negative prompt]

where w is the scale, 1 outside an interval of noise levels (Kynkaanniemi 2024). With rescale r the
spread that the extrapolation adds is taken back (Lin 2023),

    m' = m (r std(c) / std(m) + 1 - r),

std being over the entries of a picture. On x_0 the rule is that on eps, since both are affine in
each other at one x_t; a learned variance is that of the prompt, as in GLIDE, which extrapolates the
channels of eps alone. Scale 1 is the conditional law and scale 0 the one of the negative prompt,
exactly.

The guided mean may leave the range of the data and is clipped. What noise goes with a clipped mean
is a choice (`Clip`): the one that it implies, or the one of the mean before, as in diffusers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, final

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
@dataclass(frozen=True)
class Clip:
    """Between which numbers a guided mean of x_0 stays, and what noise goes with it then: the one
    that the "clipped" mean implies, or the one that was "predicted"."""

    low: float
    high: float
    noise: Literal["clipped", "predicted"] = "clipped"


@final
class Guided(Denoiser):
    """A denoiser that is told a condition, guided away from what the same condition says under
    names that begin with `NEGATIVE`.

    Parameters
    ----------
    denoiser : its own means are in the range of `clip` where the noise is to be that of the clipped
        mean, and not clipped where it is to be the predicted one.
    clip : of the guided mean, which may leave that range.
    """

    def __init__(self, denoiser: Denoiser, guidance: Guidance, clip: Clip | None = None) -> None:
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
        away = told | {name.removeprefix(NEGATIVE): value for name, value in negative.items()}
        for one, only in ((1, told), (0, away)):
            if bool((scale == one).all()):
                law = self.denoiser(x_t, t, layout, only)
                return self._kept(law, tensor(law.mean), tensor(x_t), t, layout) or law
        u = tensor(self.denoiser(x_t, t, layout, away).mean)
        law = self.denoiser(x_t, t, layout, told)
        c = tensor(law.mean)
        mean = torch.lerp(u, c, scale.to(c).view(-1, *(1,) * (c.ndim - 1)))
        if self.guidance.rescale:
            mean = _rescaled(mean, c, self.guidance.rescale)
        if (kept := self._kept(law, mean, tensor(x_t), t, layout)) is not None:
            return kept
        if self.clip is not None:
            mean = mean.clamp(self.clip.low, self.clip.high)
        if isinstance(law, Gaussian):
            return Gaussian(mean, law.std, law.space, law.layout)
        return Dirac(mean, layout)

    def _kept(
        self, law: Distribution, mean: Tensor, x_t: Tensor, t: Time, layout: Layout
    ) -> Distribution | None:
        """The mean clipped, with the noise that was predicted; None where that is not asked for."""
        if self.clip is None or self.clip.noise == "clipped" or not isinstance(law, Dirac):
            return None
        alpha = layout.expand(self.schedule.alpha(t), x_t)
        eps = (x_t - alpha * mean) / layout.expand(self.schedule.sigma(t), x_t)
        return Dirac(mean.clamp(self.clip.low, self.clip.high), layout, eps)

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
