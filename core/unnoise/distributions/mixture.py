"""Mixtures: p(x) = sum_k w_k p_k(x), with weights for each sample.

What a kernel makes of a law of x_0 it makes of each component, with the same weights: `reverse` of
a mixture is the mixture of the reverses, exact in steps of any length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.distributions.distributions import Distribution, inverse_cdf
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, tensor


@final
@dataclass(frozen=True, eq=False)
class Mixture(Distribution):
    """A mixture of laws over one batch of states, which are tensors.

    Attributes
    ----------
    log_weights : (B, K), normalised over K.
    laws : K laws over the same batch.
    layout : of the batch.
    """

    log_weights: Float[Tensor, "batch k"]
    laws: Sequence[Distribution]
    layout: Layout

    def each(self, change: Callable[[Distribution], Distribution]) -> Mixture:
        """The mixture of what `change` makes of each law."""
        return Mixture(self.log_weights, [change(law) for law in self.laws], self.layout)

    @property
    def mean(self) -> State:
        means = [tensor(law.mean) for law in self.laws]
        weights = [self.layout.expand(w, means[0]) for w in self.log_weights.exp().unbind(1)]
        return torch.stack([w * m for w, m in zip(weights, means, strict=True)]).sum(0)

    @property
    def mode(self) -> State:
        """The mode of the heaviest component, which is the mixture's where they are apart."""
        return self._of(self.log_weights.argmax(1), [tensor(law.mode) for law in self.laws])

    def sample(self, noise: NoiseSource) -> State:
        one = Layout.dense(self.layout.batch, (), device=self.layout.device)
        which = inverse_cdf(self.log_weights, noise.uniform(one))
        return self._of(which, [tensor(law.sample(noise)) for law in self.laws])

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        each = torch.stack([law.log_prob(x).double() for law in self.laws], 1)
        return (self.log_weights.double() + each).logsumexp(1)

    def kl(self, other: Distribution) -> Float[Tensor, " batch"]:
        raise InputError("a mixture has no divergence in closed form", value=type(other).__name__)

    def _of(self, which: Tensor, states: Sequence[Tensor]) -> Tensor:
        """Of each sample, its state among those of the components."""
        found = states[0]
        for k, state in enumerate(states[1:], 1):
            found = torch.where(self.layout.expand(which == k, state) > 0, state, found)
        return found
