"""The mixed score: a diffusion of latents that starts as the standard normal law (Vahdat 2021).

    eps_hat(z_t, t) = (1 - c) sigma_t z_t + c F(z_t, t),    c = sigmoid(logit), one per channel.

sigma_t z_t is the exact noise of latents that are N(0, I), where alpha^2 + sigma^2 = 1: an encoder
trained against a normal prior starts from it, and what F learns is the rest. c = 0 is the normal
law itself.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from unnoise.denoise import Condition
from unnoise.errors import ConfigError
from unnoise.kernels import Schedule
from unnoise.spaces import Layout


@final
class Mixed(nn.Module):
    """A network of the `Noise` parametrization around a network F.

    Parameters
    ----------
    network : F, called as network(z_t, label, layout, condition).
    schedule : of the label, variance preserving: sigma_t at the time that the network is told. Of
        a network that is told (gamma - low) / (high - low), `LearnedSchedule(gamma_min=low,
        gamma_max=high, ends="fixed")`.
    channels : of the latents, along `axis`.
    logit : of c at the start, a number. A rate of their own helps the logits along: from -6 to 0
        is far for an optimiser that makes steps of the learning rate.

    Raises
    ------
    ConfigError : a schedule that does not keep the variance, or no channels.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        channels: int,
        axis: int = 1,
        logit: float = -6.0,
    ) -> None:
        super().__init__()
        for t in (0.1, 0.5, 1.0):
            kept = float(schedule.alpha(t)) ** 2 + float(schedule.sigma(t)) ** 2
            if abs(kept - 1) > 1e-3:
                raise ConfigError(
                    "the mixed score needs a schedule that preserves the variance",
                    value=f"alpha^2 + sigma^2 = {kept:.4g} at t = {t}",
                    limit=1,
                    fix="use VPLinear, VPCosine, Geometric or LearnedSchedule",
                )
        if channels < 1:
            raise ConfigError("latents have at least one channel", value=channels, limit=">= 1")
        self.network, self.schedule, self.axis = network, schedule, axis
        self.logit = nn.Parameter(torch.full((channels,), logit))

    @property
    def share(self) -> Tensor:
        """(channels,) c, how much of the noise is the network's."""
        return torch.sigmoid(self.logit)

    def forward(
        self, z_t: Tensor, label: Tensor, layout: Layout, condition: Condition = None
    ) -> Tensor:
        """z_t of `layout`, label (B,). Raises ConfigError for another number of channels."""
        if z_t.ndim <= self.axis or z_t.shape[self.axis] != len(self.logit):
            raise ConfigError(
                "the latents have other channels than the mixed score",
                value=tuple(z_t.shape),
                limit=f"{len(self.logit)} along axis {self.axis}",
            )
        sigma = torch.as_tensor(self.schedule.sigma(label.double()))
        normal = layout.expand(sigma, z_t) * z_t
        along = [1] * z_t.ndim
        along[self.axis] = -1
        found: Tensor = self.network(z_t, label, layout, condition)
        return torch.lerp(normal, found, self.share.view(along).to(z_t.dtype))
