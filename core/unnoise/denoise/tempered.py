"""Temperature and nucleus: sharper laws of tokens.

p_i -> p_i^(1 / T) / sum_j p_j^(1 / T),    then 0 outside the smallest set that holds `top_p`.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unnoise.denoise.base import Condition, Denoiser
from unnoise.denoise.tokens import without
from unnoise.distributions import Categorical
from unnoise.errors import ConfigError
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.spaces import Layout, State, Time

_CHUNK = 1 << 22  # entries of a table worked on at a time


@final
class Tempered(Denoiser):
    """p(x_0 | x_t)^(1 / temperature), then the smallest set of its most probable tokens that holds
    `top_p` of it (nucleus, Holtzman 2020), normalised.

    Computed in float64 and returned in the dtype of the denoiser's law. A token whose law is one
    point stays as it is. With `Absorbing` the mask has no probability. At temperature 1 and top_p
    1 nothing else changes.

    Parameters
    ----------
    denoiser : of a categorical kernel.
    temperature : > 0; below 1 the probable becomes more probable.
    top_p : in (0, 1]; a very small one leaves the most probable token alone.

    Raises
    ------
    ConfigError : values out of range, another kernel, or a law that is not categorical.
    """

    def __init__(self, denoiser: Denoiser, temperature: float = 1.0, top_p: float = 1.0) -> None:
        super().__init__()
        if not isinstance(denoiser.kernel, CategoricalKernel):
            raise ConfigError(
                "a temperature needs a CategoricalKernel", value=type(denoiser.kernel).__name__
            )
        if not 0 < temperature < math.inf:
            raise ConfigError(
                "a temperature is positive",
                value=temperature,
                limit="> 0",
                fix="top_p=1e-9 leaves the most probable token alone",
            )
        if not 0 < top_p <= 1:
            raise ConfigError("top_p is out of range", value=top_p, limit="0 < top_p <= 1")
        self.denoiser = denoiser
        self.kernel = denoiser.kernel
        self.temperature = float(temperature)
        self.top_p = float(top_p)
        corruption = denoiser.kernel.corruption
        self.mask = corruption.mask if isinstance(corruption, Absorbing) else None

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Categorical:
        law = self.denoiser(x_t, t, layout, condition)
        if not isinstance(law, Categorical):
            raise ConfigError("a temperature needs a Categorical law", value=type(law).__name__)
        return Categorical(self._tempered(law.log_probs), law.layout)

    def at(
        self,
        x_t: State,
        t: Time,
        layout: Layout,
        where: Bool[Tensor, "*rows"],
        condition: Condition = None,
    ) -> Float[Tensor, "some k"]:
        return self._tempered(self.denoiser.at(x_t, t, layout, where, condition))

    def _tempered(self, table: Float[Tensor, "*rows k"]) -> Float[Tensor, "*rows k"]:
        k = table.shape[-1]
        flat = table.reshape(-1, k)
        done = flat.clone()
        undecided = ((flat > -math.inf).sum(-1) > 1).nonzero().flatten()
        for rows in torch.split(undecided, max(1, _CHUNK // k)):
            done[rows] = self._sharper(flat[rows].double()).to(table.dtype)
        return done.view(table.shape)

    def _sharper(self, table: Float[Tensor, "rows k"]) -> Float[Tensor, "rows k"]:
        if self.mask is not None:
            table = without(table, self.mask)
        table = (table / self.temperature).log_softmax(-1)
        if self.top_p == 1:
            return table
        p, order = table.exp().sort(dim=-1, descending=True, stable=True)
        before = p.cumsum(-1) - p  # of what is more probable
        outside = (before >= self.top_p).scatter(-1, order, before >= self.top_p)
        return table.masked_fill(outside, -math.inf).log_softmax(-1)
