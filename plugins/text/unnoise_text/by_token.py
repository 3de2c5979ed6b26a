"""Denoisers that say what the law of some tokens is, and have the whole law from that."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Categorical
from unnoise.spaces import Layout, State, Time, tensor


class ByToken(Denoiser):
    """p(x_0 | x_t) by `at`, which a subclass has."""

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Categorical:
        everywhere = torch.ones_like(tensor(x_t), dtype=torch.bool)
        table = self.at(x_t, t, layout, everywhere, condition)
        return Categorical(table.view(*tensor(x_t).shape, -1), layout)

    @abstractmethod
    def at(
        self,
        x_t: State,
        t: Time,
        layout: Layout,
        where: Bool[Tensor, "*rows"],
        condition: Condition = None,
    ) -> Float[Tensor, "some k"]: ...
