"""The product kernel: several processes that share their clock.

    q(x_t | x_s)      = prod_n q_n(x_t^n | x_s^n)
    q(x_s | x_t, x_0) = prod_n q_n(x_s^n | x_t^n, x_0^n)

Given x_0 the parts are independent; p(x_0 | x_t) couples them. A law of x_0 whose parts are
independent gives a step whose parts are, which is exact as steps become small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

from torch import nn

from unnoise import distributions, spaces
from unnoise.distributions import Dirac, Distribution, Implicit
from unnoise.errors import ConfigError, InputError
from unnoise.kernels.base import TransitionKernel
from unnoise.spaces import Layout, State, Time, parts


@final
@dataclass(frozen=True, eq=False)
class ProductKernel(TransitionKernel):
    """Independent corruption of each part; the denoiser couples them."""

    parts: Mapping[str, TransitionKernel]

    def __post_init__(self) -> None:
        clocks = {name: kernel.steps for name, kernel in self.parts.items()}
        if len({n for n in clocks.values() if n is not None}) > 1:
            raise ConfigError("the parts of a product share one clock", value=clocks)

    @property
    def space(self) -> spaces.ProductSpace:
        return spaces.ProductSpace({name: kernel.space for name, kernel in self.parts.items()})

    @property
    def steps(self) -> int | None:
        return next((k.steps for k in self.parts.values() if k.steps is not None), None)

    def modules(self) -> Iterator[nn.Module]:
        for kernel in self.parts.values():
            yield from kernel.modules()

    def marginal(self, x0: State, t: Time, layout: Layout) -> distributions.Product:
        x = parts(x0, self.parts)
        return self._each(lambda n, k: k.marginal(x[n], t, layout[n]))

    def transition(self, x_s: State, s: Time, t: Time, layout: Layout) -> distributions.Product:
        x = parts(x_s, self.parts)
        return self._each(lambda n, k: k.transition(x[n], s, t, layout[n]))

    def reverse(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout
    ) -> distributions.Product | Implicit:
        if isinstance(x0, Implicit):  # of all parts together
            return x0.then(lambda point: self.reverse(x_t, point, t, s, layout))
        x, p = parts(x_t, self.parts), self.laws(x0, layout)
        return self._each(lambda n, k: k.reverse(x[n], p[n], t, s, layout[n]))

    def bridge(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout, eta: float
    ) -> distributions.Product | Implicit:
        """Of each part, its own: eta counts for those that have a choice."""
        if isinstance(x0, Implicit):
            return x0.then(lambda point: self.bridge(x_t, point, t, s, layout, eta))
        x, p = parts(x_t, self.parts), self.laws(x0, layout)
        return self._each(lambda n, k: k.bridge(x[n], p[n], t, s, layout[n], eta))

    def prior(self, layout: Layout) -> distributions.Product:
        return self._each(lambda n, k: k.prior(layout[n]))

    def reconstruction(
        self, x_t: State, x0: Distribution, t: Time, layout: Layout
    ) -> distributions.Product:
        x, p = parts(x_t, self.parts), self.laws(x0, layout)
        return self._each(lambda n, k: k.reconstruction(x[n], p[n], t, layout[n]))

    def _each(self, make: Callable[[str, TransitionKernel], Distribution]) -> distributions.Product:
        return distributions.Product({name: make(name, k) for name, k in self.parts.items()})

    def laws(self, x0: Distribution, layout: Layout) -> Mapping[str, Distribution]:
        """The law of each part. InputError for a law that has not these parts."""
        if isinstance(x0, Dirac) and isinstance(x0.value, dict):
            x = parts(x0.value, self.parts)
            return {name: Dirac(x[name], layout[name]) for name in x}
        if isinstance(x0, distributions.Product) and set(x0.parts) == set(self.parts):
            return x0.parts
        raise InputError(
            "a product kernel needs a Product prediction of x_0 with its parts",
            value=type(x0).__name__,
            limit=sorted(self.parts),
        )
