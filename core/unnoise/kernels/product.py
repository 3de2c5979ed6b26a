"""The product kernel: several processes that share their clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from unnoise import distributions, spaces
from unnoise.distributions import Dirac, Distribution
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
    def space(self) -> spaces.Product:
        return spaces.Product({name: kernel.space for name, kernel in self.parts.items()})

    @property
    def steps(self) -> int | None:
        return next((k.steps for k in self.parts.values() if k.steps is not None), None)

    def marginal(self, x0: State, t: Time, layout: Layout) -> distributions.Product:
        x = parts(x0, self.parts)
        return self._each(lambda n, k: k.marginal(x[n], t, layout[n]))

    def transition(self, x_s: State, s: Time, t: Time, layout: Layout) -> distributions.Product:
        x = parts(x_s, self.parts)
        return self._each(lambda n, k: k.transition(x[n], s, t, layout[n]))

    def reverse(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout
    ) -> distributions.Product:
        x, p = parts(x_t, self.parts), self._laws(x0, layout)
        return self._each(lambda n, k: k.reverse(x[n], p[n], t, s, layout[n]))

    def prior(self, layout: Layout) -> distributions.Product:
        return self._each(lambda n, k: k.prior(layout[n]))

    def reconstruction(
        self, x_t: State, x0: Distribution, t: Time, layout: Layout
    ) -> distributions.Product:
        x, p = parts(x_t, self.parts), self._laws(x0, layout)
        return self._each(lambda n, k: k.reconstruction(x[n], p[n], t, layout[n]))

    def _each(self, make: Callable[[str, TransitionKernel], Distribution]) -> distributions.Product:
        return distributions.Product({name: make(name, k) for name, k in self.parts.items()})

    def _laws(self, x0: Distribution, layout: Layout) -> Mapping[str, Distribution]:
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
