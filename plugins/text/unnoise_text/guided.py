"""Guidance by what is given: classifier-free guidance whose condition is the text itself.

    log p_w(x_i) = log p(x_i | others) + w (log p(x_i | visible) - log p(x_i | others)) + const

`visible` are all tokens that are not hidden, `others` those of them that the run has written: what
was given is hidden from the second law (Nie 2025, LLaDA, after Ho & Salimans 2022). w = 1 is the
model's own law, 0 forgets what is given, more than 1 follows it more closely.

Each law is what the formula says. A text whose tokens are drawn from such laws one after the other
has the law of no joint p(x | given)^w p(x)^(1 - w), in whatever order: that is guidance, as it is
for pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Absorbing, corruption_of
from unnoise.spaces import Layout, State, Time, tensor
from unnoise_text.by_token import ByToken


@final
class GuidedByText(ByToken):
    """p_w(x_0 | x_t); condition["given"] (B, L) is True where a token was given. Two evaluations.

    Parameters
    ----------
    denoiser : of the absorbing kernel, and told no condition.
    scale : w.
    """

    def __init__(self, denoiser: Denoiser, scale: float) -> None:
        super().__init__()
        corruption = corruption_of(denoiser.kernel)
        if not isinstance(corruption, Absorbing):
            raise ConfigError(
                "guidance by what is given hides it, which needs the absorbing kernel",
                value=type(corruption).__name__,
                fix="leave guidance_scale out",
            )
        self.denoiser, self.kernel, self.scale = denoiser, denoiser.kernel, float(scale)
        self.mask = corruption.mask

    @property
    def evaluations(self) -> int:
        return 2 * self.denoiser.evaluations

    def at(
        self,
        x_t: State,
        t: Time,
        layout: Layout,
        where: Bool[Tensor, "*rows"],
        condition: Condition = None,
    ) -> Float[Tensor, "some k"]:
        x = tensor(x_t)
        own = self.denoiser.at(x, t, layout, where)
        if condition is None:
            return own
        hidden = x.masked_fill(condition["given"], self.mask)
        others = self.denoiser.at(hidden, t, layout, where)
        # a token that is visible is what it is, given or not
        visible = (x != self.mask)[where][:, None]
        never = torch.isinf(own) | torch.isinf(others)
        guided = torch.lerp(others, own, self.scale).masked_fill(never, -torch.inf)
        return torch.where(visible, own, guided.log_softmax(-1))


def check_given(scale: float | None, texts: Sequence[str | None]) -> None:
    """Raise InputError for guidance to what is given where nothing is."""
    if scale not in (None, 1) and not any(texts):
        raise InputError(
            "guidance_scale says how closely what is given is followed, and nothing is",
            value=scale,
            fix="pass prompt=, suffix= or template=, or leave guidance_scale out",
        )
