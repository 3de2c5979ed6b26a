"""The product kernel: several processes that share their clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from unnoise import distributions, spaces
from unnoise.distributions import Dirac, Distribution
from unnoise.errors import ConfigError, InputError
from unnoise.kernels.base import TransitionKernel
from unnoise.spaces import Layout, State, Time


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
        x = self._states(x0)
        return self._each(lambda n, k: k.marginal(x[n], t, layout[n]))

    def transition(self, x_s: State, s: Time, t: Time, layout: Layout) -> distributions.Product:
        x = self._states(x_s)
        return self._each(lambda n, k: k.transition(x[n], s, t, layout[n]))

    def reverse(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout
    ) -> distributions.Product:
        x, p = self._states(x_t), self._laws(x0)
        return self._each(lambda n, k: k.reverse(x[n], p[n], t, s, layout[n]))

    def prior(self, layout: Layout) -> distributions.Product:
        return self._each(lambda n, k: k.prior(layout[n]))

    def reconstruction(
        self, x_t: State, x0: Distribution, t: Time, layout: Layout
    ) -> distributions.Product:
        x, p = self._states(x_t), self._laws(x0)
        return self._each(lambda n, k: k.reconstruction(x[n], p[n], t, layout[n]))

    def _each(
        self, make: Callable[[str, TransitionKernel], Distribution]
    ) -> distributions.Product:
        return distributions.Product({name: make(name, k) for name, k in self.parts.items()})

    def _states(self, x: State) -> State:
        if not isinstance(x, dict) or set(x) != set(self.parts):
            raise InputError(
                "a product state is a dict of its parts",
                value=sorted(x) if isinstance(x, dict) else type(x).__name__,
                limit=sorted(self.parts),
            )
        return x

    def _laws(self, x0: Distribution) -> Mapping[str, Distribution]:
        if isinstance(x0, Dirac) and isinstance(x0.value, dict):
            return {name: Dirac(value) for name, value in x0.value.items()}
        if isinstance(x0, distributions.Product):
            return x0.parts
        raise InputError(
            "a product kernel needs a Product prediction of x_0", value=type(x0).__name__
        )
