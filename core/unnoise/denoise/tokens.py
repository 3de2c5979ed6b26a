"""Parametrizations of categorical kernels: a network puts out logits F (rows, ..., K).

    Logits    p(x_0 = i | x_t) = softmax(F)_i
    Masked    the same without the mask; a token that is not masked is x_0 already

and the loss is -log p(x_0 | x_t).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.denoise.parametrizations import Parametrization, expect
from unnoise.distributions import Categorical, one_hot_log
from unnoise.errors import ConfigError
from unnoise.kernels import Absorbing, CategoricalKernel, TransitionKernel, corruption_of
from unnoise.spaces import Layout, State, Time, tensor


class CategoricalParametrization(Parametrization):
    """Networks for tokens put out logits (rows, ..., K) over x_0, K the vocabulary."""

    def check_output(self, kernel: TransitionKernel, output: State, x_t: State) -> None:
        assert isinstance(kernel, CategoricalKernel)  # `check` has seen to it
        shape = (*tensor(x_t).shape, kernel.space.vocab)
        expect(output, shape, "a row over the vocabulary for each token")

    @abstractmethod
    def law(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Categorical: ...

    def inputs(self, kernel: TransitionKernel, x_t: State, t: Time, layout: Layout) -> State:
        return x_t

    def label(self, kernel: TransitionKernel, t: Time) -> Time:
        return t

    def loss(
        self,
        kernel: TransitionKernel,
        output: State,
        x0: State,
        x_t: State,
        t: Time,
        layout: Layout,
    ) -> Float[Tensor, " batch"]:
        return -self.law(kernel, output, x_t, t, layout).log_prob(x0) / layout.sizes


@final
@dataclass(frozen=True)
class Logits(CategoricalParametrization):
    """p(x_0 | x_t) = softmax of the output."""

    def check(self, kernel: TransitionKernel) -> None:
        if not isinstance(kernel, CategoricalKernel):
            raise ConfigError("Logits needs a CategoricalKernel", value=type(kernel).__name__)

    def law(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Categorical:
        return Categorical.from_logits(tensor(output), layout)


@final
@dataclass(frozen=True)
class Masked(CategoricalParametrization):
    """For the absorbing kernel: x_0 is never the mask, and what is not masked is x_0 already
    (Sahoo 2024)."""

    mask: int

    def check(self, kernel: TransitionKernel) -> None:
        corruption = corruption_of(kernel)
        if not isinstance(corruption, Absorbing) or corruption.mask != self.mask:
            raise ConfigError(
                "Masked needs a CategoricalKernel with Absorbing of the same mask",
                value=corruption,
                fix=f"use Absorbing({self.mask}), or the Logits parametrization",
            )

    def law(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Categorical:
        x_t, logits = tensor(x_t), tensor(output)
        table = without(logits, self.mask).log_softmax(-1)
        seen = (x_t != self.mask)[..., None]
        return Categorical(torch.where(seen, one_hot_log(x_t, table), table), layout)


def without(table: Float[Tensor, "... k"], column: int) -> Float[Tensor, "... k"]:
    """`table` with -inf in one column: that value has no probability."""
    return table.masked_fill(
        torch.arange(table.shape[-1], device=table.device) == column, -math.inf
    )
