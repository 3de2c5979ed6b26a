"""Autoencoders: two networks between data and a smaller space of codes.

    q(z | x) = law of the encoder's output,      p(x | z) = law of the decoder's output,
    log_density = log p(x | z) - log q(z | x),   z ~ q(z | x).

With E_q of it and the bound of the codes, log p(x) is bounded by the evidence of a hierarchical VAE
whose prior is the diffusion (LSGM, Vahdat 2021): the bound is off by KL(q(z | x) || p(z | x)). With
a decoder that returns a point there is no density of data, and the `log_density` is -inf unless
the data come back exactly: such a codec serves to generate (Rombach 2022). Codes of another scale
are a `Chain(autoencoder, Affine(scale=...))`.

The networks are ordinary modules of an output that a `Head` reads; how shapes correspond is said by
a `Geometry`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from unnoise.codecs.base import Codec, Encoded, check_data
from unnoise.denoise import Condition
from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, State, tensor

_LOG_VARIANCE = (-30.0, 20.0)  # to which log variances are clamped, as in diffusers


class Head(ABC):
    """What a network's output says: a law of states with `layout`."""

    @abstractmethod
    def law(self, output: Tensor, layout: Layout) -> Distribution:
        """The law. Raises InputError for an output of another shape."""


@final
@dataclass(frozen=True)
class DiagonalGaussian(Head):
    """N(mean, variance), elementwise. The output holds the means and the log variances, one after
    the other along `axis`; the latter are clamped to -30 .. 20."""

    axis: int = -1

    def law(self, output: Tensor, layout: Layout) -> Distribution:
        if output.shape[self.axis] % 2:
            raise InputError(
                "means and log variances are two halves of an axis", value=tuple(output.shape)
            )
        mean, log_variance = output.chunk(2, self.axis)
        _fits(mean, layout)
        _fits(log_variance, layout)
        std = (0.5 * log_variance.clamp(*_LOG_VARIANCE)).exp()
        return Gaussian(layout.zero_padding(mean), std, Euclidean(), layout)


@final
@dataclass(frozen=True)
class FixedGaussian(Head):
    """N(output, std^2): the output is the mean, in the units of what is encoded or decoded.

    Raises
    ------
    ConfigError : `std` is not a positive number.
    """

    std: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.std) and self.std > 0):
            raise ConfigError("a standard deviation is positive", value=self.std, limit="> 0")

    def law(self, output: Tensor, layout: Layout) -> Distribution:
        _fits(output, layout)
        return Gaussian(layout.zero_padding(output), self.std, Euclidean(), layout)


@final
@dataclass(frozen=True)
class Point(Head):
    """The output itself."""

    def law(self, output: Tensor, layout: Layout) -> Distribution:
        _fits(output, layout)
        return Dirac(layout.zero_padding(output), layout)


@final
@dataclass(frozen=True)
class Logits(Head):
    """Independent categories, their logits along the last axis."""

    def law(self, output: Tensor, layout: Layout) -> Distribution:
        _fits(output[..., 0], layout)
        return Categorical.from_logits(output, layout)


class Geometry(ABC):
    """How layouts of data and of codes correspond, both ways."""

    @abstractmethod
    def encoded(self, layout: Layout) -> Layout:
        """The layout of codes of data with `layout`. InputError for data that do not fit."""

    @abstractmethod
    def decoded(self, layout: Layout) -> Layout:
        """The layout of the data behind codes with `layout`."""


@final
@dataclass(frozen=True)
class Features(Geometry):
    """Rows and padded positions keep their places; what lies below them changes its shape.

    Ragged rows (R, *data), padded positions (B, L, *data) and dense samples (B, *data) become
    (R, *code), (B, L, *code) and (B, *code).

    Attributes
    ----------
    data, code : shapes of one row or position.
    data_dtype : of data that are no real numbers, such as tokens (int64).
    code_dtype : of the codes; by default that of real data, and float32 for others.
    """

    data: tuple[int, ...]
    code: tuple[int, ...]
    data_dtype: torch.dtype | None = None
    code_dtype: torch.dtype | None = None

    def encoded(self, layout: Layout) -> Layout:
        own = layout.dtype if layout.dtype.is_floating_point else torch.float32
        return _replaced(layout, self.data, self.code, self.code_dtype or own)

    def decoded(self, layout: Layout) -> Layout:
        return _replaced(layout, self.code, self.data, self.data_dtype or layout.dtype)


@final
@dataclass(frozen=True)
class Downsampled(Geometry):
    """(B, data_channels, n, m, ..) become (B, code_channels, n / factor, m / factor, ..), dense."""

    factor: int
    data_channels: int
    code_channels: int

    def __post_init__(self) -> None:
        if min(self.factor, self.data_channels, self.code_channels) < 1:
            raise ConfigError("factor and channels are at least 1", value=self, limit=">= 1")

    def encoded(self, layout: Layout) -> Layout:
        sides = self._sides(layout, self.data_channels)
        if any(n % self.factor for n in sides):
            raise InputError(
                "the sides of the data are multiples of the codec's factor",
                value=sides,
                limit=f"multiples of {self.factor}",
            )
        smaller = (n // self.factor for n in sides)
        return replace(layout, shape=(layout.batch, self.code_channels, *smaller))

    def decoded(self, layout: Layout) -> Layout:
        sides = self._sides(layout, self.code_channels)
        larger = (n * self.factor for n in sides)
        return replace(layout, shape=(layout.batch, self.data_channels, *larger))

    def _sides(self, layout: Layout, channels: int) -> tuple[int, ...]:
        if layout.index is not None or layout.mask is not None or layout.fields:
            raise InputError("this codec takes dense batches without padding")
        if len(layout.shape) < 3 or layout.shape[1] != channels:
            raise InputError(
                "the codec takes (samples, channels, sides ..)",
                value=layout.shape,
                limit=f"{channels} channels",
            )
        return layout.shape[2:]


@final
class Autoencoder(Codec):
    """Codes by one network, data by another.

    Parameters
    ----------
    encoder, decoder : modules (x, layout, condition) -> output, the layout being that of their
        input. What a network makes of one sample must not depend on the others.
    geometry : how shapes correspond.
    posterior : reads the encoder's output, N(mean, variance) by default.
    likelihood : reads the decoder's output, a point by default: codes to generate with, without a
        density of data.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        geometry: Geometry,
        posterior: Head | None = None,
        likelihood: Head | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.geometry = encoder, decoder, geometry
        self.posterior = posterior or DiagonalGaussian()
        self.likelihood = likelihood or Point()

    @property
    def invertible(self) -> bool:
        return False

    def law(self, x: State, layout: Layout, condition: Condition = None) -> Distribution:
        """q(z | x), with the layout `state_layout(layout)`."""
        x = tensor(x)
        if tuple(x.shape) != layout.shape:
            raise InputError("wrong shape of the data", value=tuple(x.shape), limit=layout.shape)
        found = self.state_layout(layout)
        return self.posterior.law(self.encoder(layout.zero_padding(x), layout, condition), found)

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        check_data(tensor(x), layout)
        q = self.law(x, layout, condition)
        z, found = _drawn(q, noise), self.state_layout(layout)
        gain = self.decode(z, found, condition).log_prob(x).double()
        if isinstance(q, Dirac):  # a code without a law of its own has an infinite density
            return Encoded(z, found, gain - math.inf)
        cost = q.log_prob(z).double()
        return Encoded(z, found, gain - cost, cost)

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[State, Layout]:
        return _drawn(self.law(x, layout, condition), noise), self.state_layout(layout)

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        z = tensor(z)
        if tuple(z.shape) != layout.shape:
            raise InputError("wrong shape of the codes", value=tuple(z.shape), limit=layout.shape)
        output = self.decoder(layout.zero_padding(z), layout, condition)
        return self.likelihood.law(output, self.data_layout(layout))

    def state_layout(self, layout: Layout) -> Layout:
        return self.geometry.encoded(layout)

    def data_layout(self, layout: Layout) -> Layout:
        return self.geometry.decoded(layout)


def _drawn(law: Distribution, noise: NoiseSource | None) -> State:
    return law.mean if noise is None else law.sample(noise)


def _replaced(
    layout: Layout, old: tuple[int, ...], new: tuple[int, ...], dtype: torch.dtype
) -> Layout:
    """The layout with the last axes `new` in place of `old`."""
    rows = len(layout.shape) - len(old)
    kept = 1 if layout.mask is None else layout.mask.ndim
    if layout.fields or rows < kept or layout.shape[rows:] != old:
        raise InputError(
            "the codec takes states of another shape",
            value=layout.shape,
            limit=f"rows of {old}" if kept == 1 else f"{kept} axes of rows and padding, then {old}",
        )
    return replace(layout, shape=(*layout.shape[:rows], *new), dtype=dtype)


def _fits(output: Tensor, layout: Layout) -> None:
    if tuple(output.shape) != layout.shape:
        raise InputError(
            "a network of the codec returns another shape",
            value=tuple(output.shape),
            limit=layout.shape,
        )
