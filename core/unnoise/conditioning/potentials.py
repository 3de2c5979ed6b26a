"""What samples shall obey: g(x_0) >= 0, by which the law of the data is weighed.

    p(x_0 | g) = p(x_0) g(x_0) / Z,        Z = E g(x_0)

A potential is log g. Those that are a likelihood p(y | x_0), with its constants, make Z the
evidence p(y). Two things follow from the law N(m, v) of x_0 that a denoiser gives, in closed form
where g allows it, as for a measurement y = A x_0 + n, n ~ N(0, R):

    expected     log E g(x_0)        log N(y; A m, A v A' + R)
    posterior    N(m, v) g / Z       where A picks entries: of precision 1/v + 1/R

Potentials see states: what a codec makes of the data.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unnoise.distributions import Dirac, Distribution, Gaussian, Mixture
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, tensor

_LOG_2PI = math.log(2 * math.pi)


class Proposal(ABC):
    """A law that can be drawn from, of a batch of states."""

    @abstractmethod
    def sample(self, noise: NoiseSource) -> State:
        """One draw per sample."""

    @abstractmethod
    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        """(B,) log probability of `x`, nats."""


class Potential(ABC):
    """What samples shall obey: log g(x_0), nats, one number for each sample, of states and not of
    the data that a codec makes of them. Samples are drawn from p(x_0) g(x_0) / Z."""

    @abstractmethod
    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        """(B,) log g of each sample, nats; -inf where it is ruled out."""

    def expected(self, law: Distribution, layout: Layout) -> Float[Tensor, " batch"] | None:
        """(B,) log E g(x_0) over the law; None where it has no closed form."""
        if isinstance(law, Mixture):
            each = [self.expected(one, layout) for one in law.laws]
            known = [found.double() for found in each if found is not None]
            if len(known) < len(each):
                return None
            return (law.log_weights.double() + torch.stack(known, 1)).logsumexp(1)
        return self.log(law.value, layout) if isinstance(law, Dirac) else None

    def posterior(self, law: Distribution, layout: Layout) -> Distribution | None:
        """The law times g, normalised; None where it is no distribution of the core."""
        if isinstance(law, Mixture):
            each = [self.expected(one, layout) for one in law.laws]
            after = [self.posterior(one, layout) for one in law.laws]
            known = [found.double() for found in each if found is not None]
            laws = [one for one in after if one is not None]
            if len(known) < len(each) or len(laws) < len(each):
                return None
            logs = (law.log_weights.double() + torch.stack(known, 1)).log_softmax(1)
            return Mixture(logs, laws, law.layout)
        return law if isinstance(law, Dirac) else None

    def proposal(self, step: Distribution, law: Distribution, layout: Layout) -> Proposal | None:
        """p(x_s | x_t) E[g(x_0) | x_s], normalised, for a step of tokens; the expectation is by the
        law of x_0 given x_t. None where that has no closed form."""
        return None

    def within(self, name: str) -> Potential | None:
        """What it asks of one part of a product alone; None for nothing."""
        return None

    def of(self, samples: Int64[Tensor, " some"]) -> Potential:
        """That of some of the samples, by their places, each as often as it is named."""
        return self


@final
@dataclass(frozen=True, eq=False)
class Measurement(Potential):
    """y = A(x_0) + noise n, n ~ N(0, 1): g(x_0) = N(y; A(x_0), noise^2).

    Attributes
    ----------
    y : (B, ...) one measurement for each sample, or (1, ...) one for all.
    noise : standard deviation, > 0.
    operator : of x_0, in place of all its entries: a matrix (m, d) over the entries of a sample in
        their order; True for the entries that are measured (y holds any value elsewhere); or a
        differentiable function (x0, layout) -> (B, ...).

    Raises
    ------
    InputError : noise that is not above 0, y that is not finite; when used, a y of another shape
        than what is measured.
    """

    y: Float[Tensor, "batch ..."]
    noise: float
    operator: Tensor | Callable[[State, Layout], Tensor] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise InputError(
                "a measurement has noise",
                value=self.noise,
                limit="> 0",
                fix="what is known exactly is an Observation",
            )
        if not bool(torch.isfinite(self.y).all()):
            raise InputError("a measurement is finite", value="NaN or infinity", fix="mask it")

    def __repr__(self) -> str:
        """Short enough for a record, with a hash of what was measured and how."""
        found = hashlib.sha256()
        for part in (self.y, self.operator):
            if isinstance(part, Tensor):
                found.update(part.double().cpu().numpy().tobytes())
        return f"Measurement({tuple(self.y.shape)}, {self.noise}, sha256 {found.hexdigest()[:16]})"

    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        return self._normal(self.seen(x0, layout), torch.zeros((), dtype=torch.float64))

    def expected(self, law: Distribution, layout: Layout) -> Float[Tensor, " batch"] | None:
        if not isinstance(law, Gaussian):
            return super().expected(law, layout)
        seen, variance = self.seen(law.mean, layout), self._variance(law)
        matrix = self._matrix
        if matrix is None:
            if callable(self.operator):
                return None
            entries: Tensor = self._normal(seen, variance)
            return entries
        # log N(y; A m, S), S = A v A' + R, by its Cholesky factor
        a = matrix.double()
        spread = variance.expand(law.mean.shape).reshape(layout.batch, -1)
        covariance = (a * spread[:, None]) @ a.T
        covariance = covariance + self.noise**2 * torch.eye(len(a), dtype=a.dtype)
        factor: Tensor = torch.linalg.cholesky(covariance)
        error = (self.y - seen).double()
        white = torch.linalg.solve_triangular(factor, error[..., None], upper=False)[..., 0]
        volume: Tensor = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        squares: Tensor = white.square().sum(-1)
        return -0.5 * squares - volume - 0.5 * len(a) * _LOG_2PI

    def posterior(self, law: Distribution, layout: Layout) -> Distribution | None:
        if not isinstance(law, Gaussian) or self._matrix is not None or callable(self.operator):
            return super().posterior(law, layout)
        variance = self._variance(law).expand(law.mean.shape)
        gain = variance / (variance + self.noise**2)
        if self.operator is not None:
            gain = gain * self.operator
        mean = law.mean + (gain * (self.y - law.mean)).to(law.mean)
        std = (variance * (1 - gain)).sqrt().to(law.mean)
        return Gaussian(mean, std, law.space, law.layout)

    def of(self, samples: Int64[Tensor, " some"]) -> Potential:
        return self if len(self.y) == 1 else replace(self, y=self.y[samples])

    def seen(self, x0: State, layout: Layout) -> Float[Tensor, "batch ..."]:
        """A(x_0). InputError where it has not the shape of y."""
        matrix = self._matrix
        if matrix is not None:
            flat = tensor(x0).reshape(layout.batch, -1)
            if matrix.shape[1] != flat.shape[1]:
                raise InputError(
                    "the operator is for samples of another size",
                    value=tuple(matrix.shape),
                    limit=f"(m, {flat.shape[1]})",
                )
            found = flat @ matrix.T.to(flat)
        elif callable(self.operator):
            found = self.operator(x0, layout)
        else:
            found = tensor(x0)
        if found.shape[1:] != self.y.shape[1:] or len(self.y) not in (1, len(found)):
            raise InputError(
                "the measurement has another shape than what is measured",
                value=tuple(self.y.shape),
                limit=f"{tuple(found.shape)}, or one row for all samples",
            )
        return found

    @property
    def _matrix(self) -> Tensor | None:
        if isinstance(self.operator, Tensor) and self.operator.dtype != torch.bool:
            return self.operator
        return None

    @property
    def kept(self) -> Tensor | None:
        """True for the entries that are measured, where the operator says so."""
        if isinstance(self.operator, Tensor) and self.operator.dtype == torch.bool:
            return self.operator
        return None

    def _variance(self, law: Gaussian) -> Tensor:
        return torch.as_tensor(law.scale, dtype=torch.float64) ** 2

    def _normal(self, seen: Tensor, variance: Tensor) -> Tensor:
        """(B,) log N(y; seen, variance + noise^2), of the measured entries."""
        total = (variance + self.noise**2).expand(seen.shape)
        terms = -0.5 * ((self.y - seen).double() ** 2 / total + total.log() + _LOG_2PI)
        if self.kept is not None:
            terms = torch.where(self.kept, terms, 0.0)
        return terms.reshape(len(seen), -1).sum(-1)


@final
@dataclass(frozen=True, eq=False)
class Property(Potential):
    """A property of a sample near its target: g = N(target; f(x_0), scale^2).

    Attributes
    ----------
    function : differentiable, (x0, layout) -> (B,).
    target, scale : in the units of the property; scale > 0.
    """

    function: Callable[[State, Layout], Tensor]
    target: float
    scale: float

    def __post_init__(self) -> None:
        check_positive("the scale of a property", self.scale)

    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        found = self.function(x0, layout)
        if found.shape != (layout.batch,):
            raise ConfigError(
                "a property is one number for each sample",
                value=tuple(found.shape),
                limit=f"({layout.batch},)",
            )
        error = (found.double() - self.target) / self.scale
        return -0.5 * error.square() - math.log(self.scale) - 0.5 * _LOG_2PI


@final
@dataclass(frozen=True, eq=False)
class Total(Potential):
    """The sum of a sample's entries, with noise: g = N(total; sum x_0, noise^2).

    Attributes
    ----------
    total : of each sample, or (B,) one for each.
    noise : > 0.
    where : True for the entries that are summed, in the shape of an event; all by default.
    """

    total: float | Float[Tensor, " batch"]
    noise: float
    where: Bool[Tensor, "..."] | None = None

    def __post_init__(self) -> None:
        check_positive("the noise of a total", self.noise)

    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        return self._normal(self._sum(tensor(x0), layout), 0.0)

    def expected(self, law: Distribution, layout: Layout) -> Float[Tensor, " batch"] | None:
        if not isinstance(law, Gaussian):
            return super().expected(law, layout)
        variance = torch.as_tensor(law.scale, dtype=torch.float64) ** 2
        spread = self._sum(variance.expand(law.mean.shape), layout)
        return self._normal(self._sum(law.mean, layout), spread)

    def of(self, samples: Int64[Tensor, " some"]) -> Potential:
        if not isinstance(self.total, Tensor) or self.total.ndim == 0:
            return self
        return replace(self, total=self.total[samples])

    def _sum(self, x: Tensor, layout: Layout) -> Tensor:
        return layout.sum((x if self.where is None else torch.where(self.where, x, 0.0)).double())

    def _normal(self, found: Tensor, spread: float | Tensor) -> Tensor:
        variance = torch.as_tensor(spread + self.noise**2)
        return -0.5 * ((self.total - found) ** 2 / variance + variance.log() + _LOG_2PI)


@final
@dataclass(frozen=True)
class Within(Potential):
    """Every entry between two bounds: g is 1 there, and 0 elsewhere."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError("there is nothing between these", value=(self.low, self.high))

    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        x = tensor(x0)
        wrong = layout.sum(((x < self.low) | (x > self.high)).double())
        return torch.where(wrong == 0, 0.0, -math.inf).double()

    def expected(self, law: Distribution, layout: Layout) -> Float[Tensor, " batch"] | None:
        if not isinstance(law, Gaussian):
            return super().expected(law, layout)
        scale = torch.as_tensor(law.scale, dtype=torch.float64)
        low, high = ((end - law.mean.double()) / scale for end in (self.low, self.high))
        # on the side where the difference of the two does not cancel
        flip = low > 0
        a, b = torch.where(flip, -high, low), torch.where(flip, -low, high)
        upper, lower = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
        return layout.sum(upper + torch.log1p(-(lower - upper).exp().clamp(max=1 - 1e-12)))


def check_positive(what: str, value: float) -> None:
    """InputError unless it is."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{what} is positive", value=value, limit="> 0")
