"""Laws of numbers on equal steps, entry by entry: what a decoder says of black and white or of
8-bit values. Probabilities, at most 1, and not densities.

With the levels y_k = low + k step, k = 0 .. n - 1,

    Bernoulli:             P(y_1) = sigmoid(logit),  n = 2
    discretised logistic:  P(y_k) = F(y_k + step / 2) - F(y_k - step / 2),
                           F(y) = sigmoid((y - m) / s),

the first and last level taking the tails (Salimans 2017, PixelCNN++; Kingma 2016). With
b = (y_k + step / 2 - m) / s and a = b - step / s, the difference of two sigmoids is

    sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)),

whose logarithm loses nothing in the tails.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from unnoise.distributions.distributions import Distribution
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, tensor


class Levels(Distribution):
    """Independent entries on the levels `low`, `low + step`, .. `high`.

    Attributes
    ----------
    levels : how many there are.
    low, high : the first and the last.
    layout : of the entries.
    """

    if TYPE_CHECKING:  # fields of frozen dataclasses

        @property
        def levels(self) -> int: ...
        @property
        def low(self) -> float: ...
        @property
        def high(self) -> float: ...
        @property
        def layout(self) -> Layout: ...

    @property
    def step(self) -> float:
        """Between neighbours."""
        return (self.high - self.low) / (self.levels - 1)

    @property
    @abstractmethod
    def median(self) -> Float[Tensor, "rows ..."]:
        """The level of each entry with at most half of the mass on either side."""


@final
@dataclass(frozen=True, eq=False)
class Bernoulli(Levels):
    """P(high) = sigmoid(logits), P(low) = sigmoid(-logits)."""

    logits: Float[Tensor, "rows ..."]
    layout: Layout
    low: float = 0.0
    high: float = 1.0
    levels = 2

    @property
    def mean(self) -> State:
        return self.low + torch.sigmoid(self.logits) * (self.high - self.low)

    @property
    def mode(self) -> State:
        return self.median

    @property
    def median(self) -> Tensor:
        high = (self.logits > 0).to(self.logits.dtype)
        return self.layout.zero_padding(self.low + high * (self.high - self.low))

    def sample(self, noise: NoiseSource) -> State:
        high = noise.uniform(self.layout) < torch.sigmoid(self.logits.double())
        drawn = self.low + high.to(self.logits.dtype) * (self.high - self.low)
        return self.layout.zero_padding(drawn)

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        """-inf for numbers that are neither level."""
        place = (tensor(x) - self.low) / (self.high - self.low)
        logs = F.logsigmoid(torch.where(place > 0.5, self.logits, -self.logits))
        return self.layout.sum(_on_levels(logs, place))

    def kl(self, other: Distribution) -> Float[Tensor, " batch"]:
        if not isinstance(other, Bernoulli) or (other.low, other.high) != (self.low, self.high):
            raise InputError(
                "a Bernoulli law has a divergence from one on the same two levels",
                value=type(other).__name__,
                limit=(self.low, self.high),
            )
        p, q = self.logits.double(), other.logits.double()
        up = torch.sigmoid(p) * (F.logsigmoid(p) - F.logsigmoid(q))
        down = torch.sigmoid(-p) * (F.logsigmoid(-p) - F.logsigmoid(-q))
        return self.layout.sum(up + down)

    def entropy(self) -> Float[Tensor, " batch"]:
        p = self.logits.double()
        up, down = torch.sigmoid(p) * F.logsigmoid(p), torch.sigmoid(-p) * F.logsigmoid(-p)
        return -self.layout.sum(up + down)


@final
@dataclass(frozen=True, eq=False)
class DiscretisedLogistic(Levels):
    """A logistic law of location m and scale s, rounded to the levels.

    Attributes
    ----------
    location : m, in the units of the levels.
    scale : s > 0, a tensor that broadcasts with the location.
    """

    location: Float[Tensor, "rows ..."]
    scale: Float[Tensor, "..."]
    layout: Layout
    levels: int = 256
    low: float = 0.0
    high: float = 255.0

    def __post_init__(self) -> None:
        if self.levels < 2 or not self.low < self.high:
            raise ConfigError(
                "levels lie between two numbers",
                value=(self.levels, self.low, self.high),
                limit=">= 2, low < high",
            )

    @property
    def mean(self) -> State:
        """low + step sum_k P(y >= y_k), k = 1 ..: a pass over all levels."""
        total = torch.zeros_like(self.location, dtype=torch.float64)
        for k in range(1, self.levels):
            edge = self.low + (k - 0.5) * self.step
            total += torch.sigmoid((self.location - edge).double() / self.scale)
        return self.layout.zero_padding((self.low + self.step * total).to(self.location.dtype))

    @property
    def mode(self) -> State:
        """Inside, the level nearest to the location; but the first and the last have a tail each,
        and may have more."""
        best = self.median
        most = self._logs(best)
        for end in (self.low, self.high):
            value = torch.full_like(best, end)
            logs = self._logs(value)
            best, most = torch.where(logs > most, value, best), torch.maximum(logs, most)
        return self.layout.zero_padding(best)

    @property
    def median(self) -> Tensor:
        return self.layout.zero_padding(self._rounded(self.location))

    def sample(self, noise: NoiseSource) -> State:
        u = noise.uniform(self.layout)
        drawn = self.location.double() + self.scale.double() * torch.logit(u)
        return self.layout.zero_padding(self._rounded(drawn).to(self.location.dtype))

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        """-inf for numbers that are no level."""
        x = tensor(x)
        return self.layout.sum(_on_levels(self._logs(x), (x - self.low) / self.step))

    def kl(self, other: Distribution) -> Float[Tensor, " batch"]:
        raise InputError(
            "a discretised logistic law has no divergence in closed form",
            value=type(other).__name__,
        )

    def _rounded(self, x: Tensor) -> Tensor:
        places = ((x - self.low) / self.step).round().clamp(0, self.levels - 1)
        return self.low + places * self.step

    def _logs(self, x: Tensor) -> Tensor:
        """log P of each entry."""
        width = self.step / self.scale
        above = (x - self.location) / self.scale + 0.5 * width
        below = above - width
        left = torch.where(x < self.low + 0.5 * self.step, 0.0, F.logsigmoid(-below))
        right = torch.where(x > self.high - 0.5 * self.step, 0.0, F.logsigmoid(above))
        ends = (x < self.low + 0.5 * self.step) | (x > self.high - 0.5 * self.step)
        return left + right + torch.where(ends, 0.0, torch.log(-torch.expm1(-width)))


def _on_levels(logs: Tensor, places: Tensor) -> Tensor:
    """`logs`, -inf where the place is no whole number."""
    off = (places - places.round()).abs() > 1e-2
    return logs.masked_fill(off, -torch.inf)
