"""Distributions over states: what kernels and denoisers return.

    log_prob(x)   log p(x)
    kl(other)     KL(p || q) = E_p[log p - log q]
    entropy()     H(p) = -E_p[log p]

with respect to the counting measure for categories and to Lebesgue measure for real states. On the
d degrees of freedom of a sample (entries of a mask, or the directions that a constrained space
leaves free)

    N(m, s^2):     log p = -sum((x - m) / s)^2 / 2 - sum log s - d log(2 pi) / 2
                   KL = sum((s / s')^2 + ((m - m') / s')^2 - 1) / 2 + sum log(s' / s)
                   H  = sum log s + d (1 + log(2 pi)) / 2
    categories:    log p = sum log p_x,   KL = sum p (log p - log q),   H = -sum p log p
    products:      the sum over independent parts

Every distribution knows the layout of its batch, so that all three are per sample, (B,), in nats,
with padding left out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Euclidean, Layout, State, parts, tensor

_CHUNK = 1 << 22  # entries of a categorical table worked on at a time: bounds temporary memory


class Distribution(ABC):
    """A distribution over one batch of states, independent between samples."""

    if TYPE_CHECKING:  # a property or a field: a dataclass cannot override an abstract property

        @property
        def mean(self) -> State:
            """The mean; for categories, the probabilities (..., K)."""

    @property
    @abstractmethod
    def mode(self) -> State:
        """The most probable state."""

    @abstractmethod
    def sample(self, noise: NoiseSource) -> State:
        """One draw per sample. Reparametrised (differentiable) for continuous states."""

    @abstractmethod
    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        """(B,) log density or log probability of `x`, nats."""

    @abstractmethod
    def kl(self, other: Distribution) -> Float[Tensor, " batch"]:
        """(B,) Kullback-Leibler divergence KL(self || other), nats."""

    def entropy(self) -> Float[Tensor, " batch"]:
        """(B,) -E log p, nats. InputError for a law that has it in no closed form."""
        raise InputError("this law has no entropy in closed form", value=type(self).__name__)

    def explicit(self, noise: NoiseSource) -> Distribution:
        """This law, with what is known by its samples alone replaced by one draw of it."""
        return self


@final
@dataclass(frozen=True, eq=False)
class Dirac(Distribution):
    """All mass on one state.

    Attributes
    ----------
    value : the state.
    layout : of the batch; dense by default.
    noise : of a law of x_0, the eps in x_t = alpha_t value + sigma_t eps, where its maker had it at
        hand; to compute it from x_t takes two more passes over memory.
    """

    value: State
    layout: Layout | None = None
    noise: State | None = None

    @property
    def mean(self) -> State:
        return self.value

    @property
    def mode(self) -> State:
        return self.value

    def sample(self, noise: NoiseSource) -> State:
        return self.value

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        """0 where `x` is the value, else -inf (with respect to the counting measure)."""
        x, value = tensor(x), tensor(self.value)
        layout = self.layout or _dense(value)
        wrong = layout.sum((x != value).to(torch.float64))
        return torch.where(wrong == 0, 0.0, -math.inf)

    def kl(self, other: Distribution) -> Float[Tensor, " batch"]:
        """-log other(value) against categories, 0 or inf against a Dirac, inf against densities."""
        if isinstance(other, Gaussian):
            return torch.full_like(other._dim(), math.inf)
        return -other.log_prob(self.value)

    def entropy(self) -> Float[Tensor, " batch"]:
        """0 for categories (whole numbers); -inf for real states, which have no density."""
        values = self.value if isinstance(self.value, dict) else {"": self.value}
        real = any(v.dtype.is_floating_point for v in values.values())
        layout = self.layout or _dense(next(iter(values.values())))
        sizes = torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)
        return sizes - math.inf if real else sizes


@final
@dataclass(frozen=True, eq=False)
class Gaussian(Distribution):
    """N(mean, std^2), isotropic per sample or elementwise, on a linear space.

    Attributes
    ----------
    mean : (rows, ...).
    std : a float, (B,) one value per sample, or a tensor of the mean's shape. 0 is a Dirac, which
        has no density.
    space : where the noise lives; a constrained space (ZeroCoM) needs an isotropic std.
    layout : of the batch; dense by default.
    """

    mean: Float[Tensor, "rows ..."]
    std: float | Float[Tensor, "..."] = 1.0
    space: DataSpace = field(default_factory=Euclidean)
    layout: Layout | None = None

    @property
    def mode(self) -> State:
        return self.mean

    @property
    def elementwise(self) -> bool:
        """Whether every entry has a standard deviation of its own."""
        return isinstance(self.std, Tensor) and self.std.shape == self.mean.shape

    @property
    def scale(self) -> float | Tensor:
        """The standard deviation in a shape that broadcasts over the mean."""
        return self.std if self.elementwise else self._layout.expand(self.std, self.mean)

    def sample(self, noise: NoiseSource) -> State:
        scale = self.scale
        if not isinstance(scale, Tensor) and scale == 0:
            return self.mean
        z = tensor(self.space.project(noise.normal(self._layout), self._layout)).to(self.mean.dtype)
        if isinstance(scale, Tensor):
            return torch.addcmul(self.mean, z, scale)
        return torch.add(self.mean, z, alpha=scale)

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        volume = self._log_volume()
        squares = self._layout.sum(((tensor(x) - self.mean) / self.scale) ** 2)
        return -0.5 * squares - volume - 0.5 * math.log(2 * math.pi) * self._dim()

    def kl(self, other: Distribution) -> Float[Tensor, " batch"]:
        if isinstance(other, Dirac | Categorical):
            return torch.full_like(self._dim(), math.inf)
        if not isinstance(other, Gaussian):
            raise InputError("no divergence between a Gaussian and", value=type(other).__name__)
        volume = other._log_volume() - self._log_volume()
        if self.elementwise or other.elementwise:
            ratio = torch.as_tensor(self.scale / other.scale).expand(self.mean.shape)
            trace = self._layout.sum(ratio**2)
        else:
            trace = (self.std / other.std) ** 2 * self._dim()
        shift = self._layout.sum(((self.mean - other.mean) / other.scale) ** 2)
        return 0.5 * (trace + shift - self._dim()) + volume

    def entropy(self) -> Float[Tensor, " batch"]:
        """InputError where the std is 0, as for `log_prob`."""
        return self._log_volume() + 0.5 * (1 + math.log(2 * math.pi)) * self._dim()

    @property
    def _layout(self) -> Layout:
        return self.layout or self.space.layout(self.mean)

    def _dim(self) -> Tensor:
        return self.space.dim(self._layout).double()

    def _log_volume(self) -> Tensor:
        """(B,) sum of log std over the degrees of freedom."""
        std = torch.as_tensor(self.std, dtype=torch.float64, device=self.mean.device)
        if self.elementwise:
            std = std.masked_fill(self._layout.zero_padding(torch.ones_like(std)) == 0, 1.0)
        if not bool((std > 0).all()):
            raise InputError(
                "a Gaussian has a density only where its std is positive",
                value=std.min().item(),
                limit="> 0",
                fix="the state at time 0 is the data itself: end at a time above 0",
            )
        if not self.elementwise:
            return std.log() * self._dim()
        if (self.space.dim(self._layout) != self._layout.sizes).any():
            raise ConfigError(
                "an elementwise std has no density on a constrained space",
                value=type(self.space).__name__,
                fix="give one std per sample",
            )
        return self._layout.sum(std.log())


@final
@dataclass(frozen=True, eq=False)
class Categorical(Distribution):
    """Independent categories.

    Attributes
    ----------
    log_probs : (rows, ..., K), normalised over the last axis; -inf is allowed.
    layout : of the tokens (rows, ...); dense by default.
    """

    log_probs: Float[Tensor, "rows ... k"]
    layout: Layout | None = None

    @staticmethod
    def from_logits(
        logits: Float[Tensor, "rows ... k"], layout: Layout | None = None
    ) -> Categorical:
        """Normalise unnormalised log probabilities (rows, ..., K)."""
        return Categorical(logits.log_softmax(-1), layout)

    @property
    def mean(self) -> State:
        return self.log_probs.exp()

    @property
    def mode(self) -> State:
        return self._layout.zero_padding(self.log_probs.argmax(-1))

    def sample(self, noise: NoiseSource) -> State:
        """Inverse of the distribution function at one float64 uniform per token.

        float64 reaches the tail: float32 Gumbel noise cannot, and so sharpens the distribution.
        """
        u = noise.uniform(self._layout)
        return inverse_cdf(self.log_probs, u, self._layout)

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        return self._layout.sum(self.log_probs.gather(-1, tensor(x)[..., None])[..., 0])

    def kl(self, other: Distribution) -> Float[Tensor, " batch"]:
        if isinstance(other, Dirac):
            other = Categorical(one_hot_log(tensor(other.value), self.log_probs), self.layout)
        if not isinstance(other, Categorical):
            raise InputError("no divergence between categories and", value=type(other).__name__)
        return self._layout.sum(_by_rows(_kl_rows, self.log_probs, other.log_probs))

    def entropy(self) -> Float[Tensor, " batch"]:
        """A category of probability 0 adds nothing."""
        zeros = torch.zeros_like(self.log_probs[..., :1]).expand(self.log_probs.shape)
        return -self._layout.sum(_by_rows(_kl_rows, self.log_probs, zeros))

    @property
    def _layout(self) -> Layout:
        return self.layout or _dense(self.log_probs[..., 0], torch.int64)


@final
@dataclass(frozen=True, eq=False)
class Product(Distribution):
    """Independent parts of a product state, by name."""

    parts: Mapping[str, Distribution]

    @property
    def mean(self) -> State:
        return {name: tensor(part.mean) for name, part in self.parts.items()}

    @property
    def mode(self) -> State:
        return {name: tensor(part.mode) for name, part in self.parts.items()}

    def sample(self, noise: NoiseSource) -> State:
        return {name: tensor(part.sample(noise)) for name, part in self.parts.items()}

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        x = parts(x, self.parts)
        return _total([part.log_prob(x[name]) for name, part in self.parts.items()])

    def kl(self, other: Distribution) -> Float[Tensor, " batch"]:
        if not isinstance(other, Product) or set(other.parts) != set(self.parts):
            raise InputError("the other law has other parts", limit=sorted(self.parts))
        return _total([part.kl(other.parts[name]) for name, part in self.parts.items()])

    def entropy(self) -> Float[Tensor, " batch"]:
        return _total([part.entropy() for part in self.parts.values()])

    def explicit(self, noise: NoiseSource) -> Product:
        return Product({name: part.explicit(noise) for name, part in self.parts.items()})


def one_hot_log(
    x: Int64[Tensor, "*rows"], like: Float[Tensor, "*rows k"]
) -> Float[Tensor, "*rows k"]:
    """log of the indicator of tokens `x` (...) over the last axis of `like` (..., K)."""
    out = torch.full_like(like, -math.inf)
    return out.scatter_(-1, x[..., None], 0.0)


def inverse_cdf(
    log_probs: Float[Tensor, "*rows k"], u: Float64[Tensor, "*rows"], layout: Layout | None = None
) -> Int64[Tensor, "*rows"]:
    """The category at which the distribution function of `log_probs` (..., K) passes u in [0, 1).

    Raises
    ------
    NonFiniteError : probabilities are NaN or all zero, outside the padding of `layout`.
    """
    k = log_probs.shape[-1]
    if u.numel() == 0:
        return torch.zeros_like(u, dtype=torch.int64)
    x = _by_rows(_invert_cdf, log_probs.detach(), u)
    x = x if layout is None else layout.zero_padding(x)
    bad = int((x == k).sum())
    if bad:
        raise NonFiniteError("tokens with probabilities NaN or all zero", value=bad, limit=0)
    return x


def _by_rows(function: Callable[[Tensor, Tensor], Tensor], table: Tensor, other: Tensor) -> Tensor:
    """`function` on matching pieces of (rows, ..., K) tables, to bound its temporary memory."""
    shape, k = table.shape[:-1], table.shape[-1]
    rows = max(1, _CHUNK // k)
    other = other.reshape(-1, k) if other.ndim == table.ndim else other.reshape(-1)
    table = table.reshape(-1, k)
    pieces = zip(torch.split(table, rows), torch.split(other, rows), strict=True)
    return torch.cat([function(a, b) for a, b in pieces]).view(shape)


def _kl_rows(p: Tensor, q: Tensor) -> Tensor:
    # p log p is 0 at p = 0; where q is 0 but p is not, the divergence is infinite
    terms = torch.where(p > -math.inf, p.exp() * (p - q), 0.0)
    return terms.sum(-1)


def _invert_cdf(log_probs: Tensor, u: Tensor) -> Tensor:
    cdf = log_probs.double().exp().cumsum(-1)
    target = (u[..., None] * cdf[..., -1:]).contiguous()
    # right=True: a category of probability 0 is never drawn, not even at u = 0. The result is K
    # where nothing lies above the target: u < 1, so the probabilities are NaN or all zero.
    return torch.searchsorted(cdf, target, right=True)[..., 0]


def _total(values: list[Tensor]) -> Tensor:
    return torch.stack([v.double() for v in values]).sum(0)


def _dense(x: Tensor, dtype: torch.dtype | None = None) -> Layout:
    return Layout.dense(x.shape[0], x.shape[1:], dtype=dtype or x.dtype, device=x.device)
