"""Codecs: what the data are, and what a diffusion works on.

A model of states z is a model of data x through a codec q(z | x), p(x | z):

    log p(x) >= E_q [log p(z) + log p(x | z) - log q(z | x)].

The last two terms at one draw of z are the `log_density` of what is encoded. Where z = f(x) is
invertible both laws are points, and the line becomes the change of variables,

    log p(x) = log p(z) + log |det dz / dx|,

exactly. A bound or a likelihood of states plus the codec's term is one of the data, in their own
units. Latent diffusion (Rombach 2022), LSGM (Vahdat 2021), scaled pictures and the data-dependent
prior of PriorGrad (Lee 2022) differ in the codec only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from unnoise import distributions
from unnoise.denoise import Condition
from unnoise.distributions import Dirac, Distribution
from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, parts, tensor


@final
@dataclass(frozen=True, eq=False)
class Encoded:
    """Data as a diffusion sees them.

    Attributes
    ----------
    state : z.
    layout : of the state; that of the data where the codec changes no shape.
    log_density : (B,) float64 nats, log p(x | z) - log q(z | x); for an invertible codec
        log |det dz / dx|. What is added to a log density of the state.
    log_posterior : (B,) float64 nats, log q(z | x) of a stochastic codec at this draw, so that
        log p(x | z) = log_density + log_posterior; None where no part of the state has a density.
    """

    state: State
    layout: Layout
    log_density: Float64[Tensor, " batch"]
    log_posterior: Float64[Tensor, " batch"] | None = None


class Codec(nn.Module, ABC):
    """Data to states and back. The data's padding stays padding, ragged samples stay apart, and a
    sample's state does not depend on its neighbours in the batch."""

    @property
    @abstractmethod
    def invertible(self) -> bool:
        """Whether the state is a function of the data that can be undone."""

    @abstractmethod
    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        """Data `x` of `layout` as a state, and what that costs or brings in nats.

        Parameters
        ----------
        noise : what a stochastic codec draws z from. Without it z is the mean of q(z | x), and the
            `log_density` there is no longer that of a bound.

        Raises
        ------
        InputError, NonFiniteError : `x` does not have this layout, or has NaN; a condition is
            missing or makes the codec singular.
        """

    @abstractmethod
    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        """p(x | z) of a state with `layout`; its layout is `data_layout(layout)`."""

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[State, Layout]:
        """State and layout of `encode` alone: what training needs, often much cheaper."""
        encoded = self.encode(x, layout, condition, noise)
        return encoded.state, encoded.layout

    def push(self, law: Distribution, layout: Layout, condition: Condition = None) -> Distribution:
        """The law of x when z follows `law`, in closed form: of invertible codecs.

        Raises
        ------
        ConfigError : there is none for this codec or this law.
        """
        raise ConfigError(
            "data have no law in closed form through this codec",
            value=f"{type(law).__name__} through {type(self).__name__}",
            fix="decode draws of the state",
        )

    def state_layout(self, layout: Layout) -> Layout:
        """The layout of the states of data with `layout`."""
        return layout

    def data_layout(self, layout: Layout) -> Layout:
        """The layout of the data behind states with `layout`."""
        return layout


@final
class Identity(Codec):
    """The state is the data."""

    @property
    def invertible(self) -> bool:
        return True

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        check_data(x, layout)
        return Encoded(x, layout, no_change(layout))

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[State, Layout]:
        return x, layout

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        return Dirac(z, layout)

    def push(self, law: Distribution, layout: Layout, condition: Condition = None) -> Distribution:
        return law


@final
class Chain(Codec):
    """Codecs one after the other: the state of each is the data of the next.

    All but the first are invertible: Chain(autoencoder, Affine(scale=5.5)) has scaled codes.
    """

    codecs: nn.ModuleList

    def __init__(self, first: Codec, *then: Codec) -> None:
        super().__init__()
        for codec in then:
            if not codec.invertible:
                raise ConfigError(
                    "in a chain all codecs but the first are invertible",
                    value=type(codec).__name__,
                )
        self.codecs = nn.ModuleList((first, *then))

    @property
    def invertible(self) -> bool:
        return self._each[0].invertible

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        first, *then = self._each
        found = first.encode(x, layout, condition, noise)
        for codec in then:
            on = codec.encode(found.state, found.layout, condition, noise)
            posterior = found.log_posterior  # of what is scaled by a factor, over that factor
            found = Encoded(
                on.state,
                on.layout,
                found.log_density + on.log_density,
                None if posterior is None else posterior - on.log_density,
            )
        return found

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[State, Layout]:
        for codec in self._each:
            x, layout = codec.embed(x, layout, condition, noise)
        return x, layout

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        first, *then = self._each
        for codec in reversed(then):
            z = codec.decode(z, layout, condition).mode
            layout = codec.data_layout(layout)
        return first.decode(z, layout, condition)

    def push(self, law: Distribution, layout: Layout, condition: Condition = None) -> Distribution:
        for codec in reversed(self._each):
            law = codec.push(law, layout, condition)
            layout = codec.data_layout(layout)
        return law

    def state_layout(self, layout: Layout) -> Layout:
        for codec in self._each:
            layout = codec.state_layout(layout)
        return layout

    def data_layout(self, layout: Layout) -> Layout:
        for codec in reversed(self._each):
            layout = codec.data_layout(layout)
        return layout

    @property
    def _each(self) -> list[Codec]:
        return list(self.codecs)  # type: ignore[arg-type]  # torch types its containers as Module


@final
class ProductCodec(Codec):
    """A codec for each part of a product, all told the same condition."""

    codecs: nn.ModuleDict

    def __init__(self, codecs: Mapping[str, Codec]) -> None:
        super().__init__()
        if not codecs:
            raise ConfigError("a product has at least one part")
        self.codecs = nn.ModuleDict(dict(codecs))

    @property
    def invertible(self) -> bool:
        return all(codec.invertible for codec in self.parts.values())

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        data = parts(x, self.parts)
        found = {
            name: codec.encode(data[name], layout[name], condition, noise)
            for name, codec in self.parts.items()
        }
        drawn = [f.log_posterior for f in found.values() if f.log_posterior is not None]
        return Encoded(
            {name: tensor(one.state) for name, one in found.items()},
            Layout.product({name: one.layout for name, one in found.items()}),
            torch.stack([one.log_density for one in found.values()]).sum(0),
            torch.stack(drawn).sum(0) if drawn else None,
        )

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[State, Layout]:
        data = parts(x, self.parts)
        found = {
            name: codec.embed(data[name], layout[name], condition, noise)
            for name, codec in self.parts.items()
        }
        states = {name: tensor(state) for name, (state, _) in found.items()}
        return states, Layout.product({name: own for name, (_, own) in found.items()})

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        states = parts(z, self.parts)
        return distributions.Product(
            {
                name: codec.decode(states[name], layout[name], condition)
                for name, codec in self.parts.items()
            }
        )

    def push(self, law: Distribution, layout: Layout, condition: Condition = None) -> Distribution:
        if isinstance(law, Dirac):
            values = parts(law.value, self.parts)
            laws: Mapping[str, Distribution] = {n: Dirac(v, layout[n]) for n, v in values.items()}
        elif isinstance(law, distributions.Product) and set(law.parts) == set(self.parts):
            laws = law.parts
        else:
            raise InputError(
                "a codec of a product needs a law with its parts",
                value=type(law).__name__,
                limit=sorted(self.parts),
            )
        return distributions.Product(
            {
                name: codec.push(laws[name], layout[name], condition)
                for name, codec in self.parts.items()
            }
        )

    def state_layout(self, layout: Layout) -> Layout:
        return Layout.product({n: c.state_layout(layout[n]) for n, c in self.parts.items()})

    def data_layout(self, layout: Layout) -> Layout:
        return Layout.product({n: c.data_layout(layout[n]) for n, c in self.parts.items()})

    @property
    def parts(self) -> dict[str, Codec]:
        """The codec of each part, by name."""
        return dict(self.codecs.items())  # type: ignore[arg-type]  # torch types its containers as Module


def check_data(x: State, layout: Layout) -> None:
    """InputError or NonFiniteError unless `x` has this layout and no NaN outside its padding."""
    if layout.fields:
        for name, value in parts(x, layout.fields).items():
            check_data(value, layout[name])
        return
    x = tensor(x)
    if tuple(x.shape) != layout.shape:
        raise InputError("wrong shape of the data", value=tuple(x.shape), limit=layout.shape)
    bad = int((~torch.isfinite(layout.zero_padding(x))).sum())
    if bad:
        raise NonFiniteError("the data have NaN or infinite entries", value=bad, limit=0)


def no_change(layout: Layout) -> Float64[Tensor, " batch"]:
    """(B,) zeros: the `log_density` of a state that is the data."""
    return torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)
