"""What the numbers of a data set are, which decides what a likelihood of them means.

A density of values that were rounded is worth nothing: it grows without limit at the rounded
values. Either noise of one rounding step is added first (dequantisation), or the model gives the
rounded values probabilities (the discretised decoder of the variational bound). With y the units of
the data, x the model's and d their number,

    log p(y) = log p(x) + log |det dx / dy|,    bits per dimension = -log2 p(y) / d.

Densities and probabilities are both in nats, but they are of different things: densities of y may
exceed 1 and depend on its unit. A product therefore has one data type per part, and no single
number of bits per dimension.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.distributions import Categorical, Distribution, Gaussian, Levels, Product
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Layout, ProductSpace, State, Tokens, parts, tensor

_MANY = 1024  # entries among which real numbers would not have so few different values
_FEW = 256


class Prepared(NamedTuple):
    """Data that have a density, and log |det dx / dy| to the units y of the data type, (B,)."""

    x: State
    change: Tensor


class Reading(ABC):
    """How x_0 is read from a law of it: the last term of a bound."""

    @property
    @abstractmethod
    def measure(self) -> str:
        """What p is: "density" of y, or "probability"; two or more of them for a product."""

    @abstractmethod
    def check(self, x: State, layout: Layout) -> None:
        """Raise InputError unless `x` can be such data."""

    @abstractmethod
    def log_prob(self, law: Distribution, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        """log p(x0), the last term of a bound: a density of x, or a probability of its levels."""

    @property
    def rounding(self) -> float:
        """How far levels lie apart in x_0, where likelihoods are probabilities of levels; 0 where
        they are densities."""
        return 0.0


class DataType(Reading, ABC):
    """The units y in which a log-likelihood is given, and how y relates to the data's x."""

    @abstractmethod
    def change(self, space: DataSpace, layout: Layout) -> Float[Tensor, " batch"]:
        """log |det dx / dy|: log p(y) = log p(x) + change. For `log_likelihood(change=...)`."""

    @abstractmethod
    def prepare(self, x: State, space: DataSpace, layout: Layout, noise: NoiseSource) -> Prepared:
        """`x` as numbers with a density. Raises InputError as `check` does."""


@final
@dataclass(frozen=True)
class Continuous(DataType):
    """Real numbers, x = unit * y + constant, `unit` the size of y's unit in the data's x."""

    unit: float = 1.0

    def __post_init__(self) -> None:
        if not self.unit > 0:
            raise ConfigError("a unit is positive", value=self.unit, limit="> 0")

    @property
    def measure(self) -> str:
        return "density"

    def check(self, x: State, layout: Layout) -> None:
        """Refuses data with as few different values as 8-bit numbers have; padding is no data."""
        for name, value in x.items() if isinstance(x, dict) else [("", x)]:
            own = layout[name] if name else layout
            value = value if own.mask is None else value[own.mask]
            if not value.dtype.is_floating_point or value.numel() < _MANY:
                continue
            different = len(torch.unique(value))
            if different <= _FEW:
                raise InputError(
                    "these are rounded values, not real numbers: they have no density",
                    value=f"{different} different values in {value.numel()}",
                    fix="use Quantised(), which adds noise of one rounding step",
                )

    def change(self, space: DataSpace, layout: Layout) -> Float[Tensor, " batch"]:
        return math.log(self.unit) * space.dim(layout).double()

    def prepare(self, x: State, space: DataSpace, layout: Layout, noise: NoiseSource) -> Prepared:
        self.check(x, layout)
        return Prepared(x, self.change(space, layout))

    def log_prob(self, law: Distribution, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        return law.log_prob(x0)


@final
@dataclass(frozen=True)
class Dequantised(DataType):
    """Values of `levels` equal steps from `low` to `high` to which uniform noise of one step was
    added; y counts steps, so that log p(y) bounds the log probability of the level."""

    levels: int = 256
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        _check_levels(self.levels, self.low, self.high)

    @property
    def step(self) -> float:
        """Between neighbouring levels, in x."""
        return (self.high - self.low) / (self.levels - 1)

    @property
    def measure(self) -> str:
        return "density"

    def check(self, x: State, layout: Layout) -> None:
        """Refuses data of which most entries are levels themselves."""
        real = tensor(x) if layout.mask is None else tensor(x)[layout.mask]
        on = _off_grid(real, self.low, self.step) < 1e-3
        if float(on.double().mean()) > 0.5:
            raise InputError(
                "these data were not dequantised: a density of rounded values is unbounded",
                value=f"{int(on.sum())} of {on.numel()} entries are levels",
                fix="use Quantised(), whose `prepare` adds the noise",
            )

    def change(self, space: DataSpace, layout: Layout) -> Float[Tensor, " batch"]:
        return math.log(self.step) * space.dim(layout).double()

    def prepare(self, x: State, space: DataSpace, layout: Layout, noise: NoiseSource) -> Prepared:
        self.check(x, layout)
        return Prepared(x, self.change(space, layout))

    def log_prob(self, law: Distribution, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        return law.log_prob(x0)


@final
@dataclass(frozen=True)
class Quantised(DataType):
    """The levels themselves, x = low + k (high - low) / (levels - 1), k = 0 .. levels - 1: with
    the defaults 8-bit data scaled to [-1, 1]. Likelihoods are probabilities, at most 1."""

    levels: int = 256
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        _check_levels(self.levels, self.low, self.high)

    @property
    def step(self) -> float:
        """Between neighbouring levels, in x."""
        return (self.high - self.low) / (self.levels - 1)

    @property
    def rounding(self) -> float:
        return self.step

    @property
    def measure(self) -> str:
        return "probability"

    def check(self, x: State, layout: Layout) -> None:
        """Refuses numbers that are no levels."""
        real = tensor(x) if layout.mask is None else tensor(x)[layout.mask]
        off = _off_grid(real, self.low, self.step) > 1e-2
        outside = (real < self.low - self.step / 2) | (real > self.high + self.step / 2)
        if bool((off | outside).any()):
            raise InputError(
                f"the data are not on {self.levels} levels from {self.low:g} to {self.high:g}",
                value=f"{int((off | outside).sum())} of {real.numel()} entries",
                fix="use Continuous(), or Dequantised() after noise was added",
            )

    def change(self, space: DataSpace, layout: Layout) -> Float[Tensor, " batch"]:
        """0: probabilities do not depend on units."""
        return torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)

    def prepare(self, x: State, space: DataSpace, layout: Layout, noise: NoiseSource) -> Prepared:
        """Adds uniform noise of one step, centred on the level."""
        self.check(x, layout)
        shift = layout.zero_padding(noise.uniform(layout) - 0.5) * self.step
        noisy = tensor(x) + shift.to(tensor(x).dtype)
        other = Dequantised(self.levels, self.low, self.high)
        return Prepared(noisy, other.change(space, layout))

    def log_prob(self, law: Distribution, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        """log of the law's mass within half a step of each level; the first and last level take
        the tails (Ho 2020). In float64. A law of `Levels`, which must be these, has them itself."""
        if isinstance(law, Levels):
            own, mine = (law.levels, law.low, law.high), (self.levels, self.low, self.high)
            if own != mine:
                raise InputError("a law of other levels than the data", value=own, limit=mine)
            return law.log_prob(x0).double()
        if not isinstance(law, Gaussian):
            raise InputError(
                "levels need a Gaussian law, or one of levels", value=type(law).__name__
            )
        x = tensor(x0).double()
        std = law.scale.double() if isinstance(law.scale, Tensor) else law.scale
        centre, half = (x - law.mean.double()) / std, self.step / 2 / std
        above, below = centre + half, centre - half
        # log(Phi(b) - Phi(a)) from the tail where both are small, a < b <= -a after the mirror
        mirrored = centre > 0
        b = torch.where(mirrored, -below, above)
        a = torch.where(mirrored, -above, below)
        top, bottom = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
        inside = top + torch.log(-torch.expm1((bottom - top).clamp(max=-1e-300)))
        first, last = x < self.low + self.step / 2, x > self.high - self.step / 2
        logs = torch.where(first, torch.special.log_ndtr(above), inside)
        logs = torch.where(last, torch.special.log_ndtr(-below), logs)
        return layout.sum(logs)


@final
@dataclass(frozen=True)
class Categories(DataType):
    """Tokens: the dimension counts them, and likelihoods are probabilities of whole sequences."""

    @property
    def measure(self) -> str:
        return "probability"

    def check(self, x: State, layout: Layout) -> None:
        """Refuses real numbers."""
        for value in x.values() if isinstance(x, dict) else (x,):
            if value.dtype.is_floating_point:
                raise InputError("categories are whole numbers", value=value.dtype)

    def change(self, space: DataSpace, layout: Layout) -> Float[Tensor, " batch"]:
        """0: probabilities do not depend on units."""
        return torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)

    def prepare(self, x: State, space: DataSpace, layout: Layout, noise: NoiseSource) -> Prepared:
        self.check(x, layout)
        raise InputError(
            "categories have probabilities, not a density",
            fix="use the variational bound, unnoise.objectives.bound",
        )

    def log_prob(self, law: Distribution, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        """log P of the tokens, for a Categorical law."""
        if not isinstance(law, Categorical):
            raise InputError(
                "this law gives no probability to categories", value=type(law).__name__
            )
        return law.log_prob(x0)


@final
@dataclass(frozen=True)
class ProductData(DataType):
    """One data type per part of a product, by name: what `Domain.data_type` says of a mixed table.

    In a bound each part counts in its own measure, see `Bound.parts`.
    """

    parts: Mapping[str, DataType]

    @property
    def measure(self) -> str:
        return " and ".join(sorted({part.measure for part in self.parts.values()}))

    def check(self, x: State, layout: Layout) -> None:
        for name, value in parts(x, self.parts).items():
            self.parts[name].check(value, layout[name])

    def change(self, space: DataSpace, layout: Layout) -> Float[Tensor, " batch"]:
        own = self._spaces(space)
        each = [part.change(own[name], layout[name]) for name, part in self.parts.items()]
        return torch.stack(each).sum(0)

    def prepare(self, x: State, space: DataSpace, layout: Layout, noise: NoiseSource) -> Prepared:
        own, x = self._spaces(space), parts(x, self.parts)
        each = {n: p.prepare(x[n], own[n], layout[n], noise) for n, p in self.parts.items()}
        change = torch.stack([part.change for part in each.values()]).sum(0)
        return Prepared({name: tensor(part.x) for name, part in each.items()}, change)

    def log_prob(self, law: Distribution, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        if not isinstance(law, Product) or set(law.parts) != set(self.parts):
            raise InputError("the law has other parts than the data", limit=sorted(self.parts))
        x0 = parts(x0, self.parts)
        each = [p.log_prob(law.parts[n], x0[n], layout[n]) for n, p in self.parts.items()]
        return torch.stack([value.double() for value in each]).sum(0)

    def _spaces(self, space: DataSpace) -> Mapping[str, DataSpace]:
        if not isinstance(space, ProductSpace) or set(space.parts) != set(self.parts):
            raise ConfigError(
                "the data type has other parts than the space",
                value=sorted(self.parts),
                limit=sorted(space.parts) if isinstance(space, ProductSpace) else type(space),
            )
        return space.parts


def data_of_parts(
    data: Reading | Mapping[str, Reading], space: ProductSpace
) -> Mapping[str, Reading]:
    """The data type of each part of a product: `data`'s own, or, where it is one type for all,
    that of every real part, and `Categories` of parts of tokens.

    Raises
    ------
    ConfigError : `data` has other parts than the space.
    """
    if isinstance(data, ProductData):
        data = data.parts
    if isinstance(data, Reading):
        tokens = {name for name, part in space.parts.items() if isinstance(part, Tokens)}
        return {name: Categories() if name in tokens else data for name in space.parts}
    if set(data) != set(space.parts):
        raise ConfigError(
            "the data type has other parts than the space",
            value=sorted(data),
            limit=sorted(space.parts),
        )
    return data


def bits_per_dimension(
    nats: Float[Tensor, " batch"], data: DataType, x: State, space: DataSpace, layout: Layout
) -> Float[Tensor, " batch"]:
    """-log2 p per degree of freedom, in the units of the data type.

    Parameters
    ----------
    nats : -log p(x): what `bound(..., data=data)` gives, or minus `Likelihood.nats` without a
        change of variables. For `Quantised` it is a negative log probability already.
    data : what x is. There is no default: without it the number has no meaning.
    x : the data, which are checked against the type.

    Raises
    ------
    InputError : `x` is not of that type, for instance 8-bit data that were not dequantised, or it
        is a product of densities and probabilities, which have no common unit.
    """
    if data.measure not in ("density", "probability"):
        raise InputError(
            "densities and probabilities have no common unit",
            value=data.measure,
            fix="take each part of `Bound.parts` with its own data type",
        )
    data.check(x, layout)
    return (nats - data.change(space, layout)) / (space.dim(layout) * math.log(2))


def _off_grid(x: Tensor, low: float, step: float) -> Tensor:
    """Distance from the nearest level, in steps."""
    k = (x.double() - low) / step
    return (k - k.round()).abs()


def _check_levels(levels: int, low: float, high: float) -> None:
    if levels < 2 or not low < high:
        raise ConfigError(
            "levels lie between two numbers", value=(levels, low, high), limit=">= 2, low < high"
        )
