"""Laws that are known by their samples alone: a generator's.

    x_0 = G(x_t, t, z),  z ~ N(0, I),    p(x_0 | x_t) = the law of G(x_t, t, z)

has no density that could be computed, but it can be drawn from, and a step of the chain needs no
more: draw x_0, then x_s ~ q(x_s | x_t, x_0) (Xiao 2022, denoising diffusion GANs). Such a law may
have several modes, so that few and large steps are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, final

from jaxtyping import Float
from torch import Tensor

from unnoise.distributions.distributions import Dirac, Distribution
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State


@final
@dataclass(frozen=True, eq=False)
class Implicit(Distribution):
    """The law of `draw(noise)`.

    Mean, mode, density and entropy are unknown and raise InputError: an average over draws would
    be an answer that depends on how many, and on whose noise.

    Attributes
    ----------
    draw : one state per sample of the batch; all randomness comes from the noise source it is
        given, so that samples do not depend on the batch they are in.
    layout : of the batch.
    """

    draw: Callable[[NoiseSource], State]
    layout: Layout | None = None

    @property
    def mean(self) -> State:
        return self._unknown("mean")

    @property
    def mode(self) -> State:
        return self._unknown("mode")

    def sample(self, noise: NoiseSource) -> State:
        return self.draw(noise)

    def explicit(self, noise: NoiseSource) -> Dirac:
        return Dirac(self.draw(noise), self.layout)

    def then(self, step: Callable[[Dirac], Distribution]) -> Implicit:
        """The law of a draw from step(x), x a draw from this law: what `reverse` is for it."""
        return Implicit(lambda noise: step(self.explicit(noise)).sample(noise), self.layout)

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        return self._unknown("density")

    def kl(self, other: Distribution) -> Float[Tensor, " batch"]:
        return self._unknown("density")

    def entropy(self) -> Float[Tensor, " batch"]:
        return self._unknown("entropy")

    def _unknown(self, what: str) -> NoReturn:
        raise InputError(
            f"an implicit law is known by its samples and has no {what}",
            fix="draw from it with law.sample(noise); the samplers ancestral and ddim do",
        )
