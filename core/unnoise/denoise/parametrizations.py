"""Parametrizations: from what a network puts out to a law of x_0, and what it is trained on.

Of a Gaussian kernel, x_t = alpha x_0 + sigma eps, all are affine in the state and the output F,
x_0 = skip x_t + out F:

                      F =                               skip                   out
    Noise             eps                               1 / alpha              -sigma / alpha
    Clean             x_0                               0                      1
    V                 alpha eps - sigma x_0             alpha / n              -sigma / n
    Score             -eps / sigma                      1 / alpha              sigma^2 / alpha
    Flow              alpha' x_0 + sigma' eps           sigma' / w             -sigma / w
    Preconditioned    see there

with n = alpha^2 + sigma^2 and w = alpha sigma' - alpha' sigma. The loss is |F - target|^2, where
target = (x_0 - skip x_t) / out, the F that gives the true x_0.
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

from unnoise import distributions
from unnoise.distributions import Dirac, Distribution
from unnoise.errors import ConfigError
from unnoise.kernels import (
    GaussianKernel,
    ProductKernel,
    TransitionKernel,
)
from unnoise.kernels.gaussian import combine
from unnoise.kernels.schedules import Schedule
from unnoise.spaces import Layout, State, Time, parts, tensor


class Parametrization(ABC):
    """Ties a network to a kernel. Networks see `inputs` and a time label, and put out anything."""

    @abstractmethod
    def check(self, kernel: TransitionKernel) -> None:
        """Raise ConfigError unless x_0 can be read off the output at every t in (0, 1]."""

    @abstractmethod
    def inputs(self, kernel: TransitionKernel, x_t: State, t: Time, layout: Layout) -> State:
        """What the network sees of the state."""

    @abstractmethod
    def label(self, kernel: TransitionKernel, t: Time) -> Time:
        """What the network sees of the time."""

    def check_output(self, kernel: TransitionKernel, output: State, x_t: State) -> None:
        """Raise ConfigError unless a network's `output` has the shape that `law` reads: broadcast,
        a wrong one would train and generate something else. See `expect`. By default any tensors
        pass."""
        if not isinstance(output, Tensor | dict):
            raise ConfigError(
                "a network puts out a tensor, or a dict with one per part",
                value=type(output).__name__,
            )

    @abstractmethod
    def law(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Distribution:
        """The law of x_0."""

    @abstractmethod
    def loss(
        self,
        kernel: TransitionKernel,
        output: State,
        x0: State,
        x_t: State,
        t: Time,
        layout: Layout,
    ) -> Float[Tensor, " batch"]:
        """(B,) mean training loss per entry: squared error to the target, or cross-entropy."""


def expect(output: State, shape: tuple[int, ...], what: str) -> None:
    """ConfigError unless the output of a network is one tensor of this shape."""
    if not isinstance(output, Tensor) or output.shape != shape:
        raise ConfigError(
            f"the network puts out another shape than {what}",
            value=tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__,
            limit=tuple(shape),
            fix="change its last layer; a size of 1 is not repeated",
        )


class Coefficients(NamedTuple):
    """x_0 = skip x_t + out F(scale x_t, label), F the network."""

    skip: Time
    out: Time
    scale: Time
    label: Time


class GaussianParametrization(Parametrization):
    """Every parametrization of a Gaussian kernel is affine in the state and the output."""

    @abstractmethod
    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        """The coefficients at time t."""

    def check(self, kernel: TransitionKernel) -> None:
        schedule = _gaussian(kernel).schedule
        try:
            finite = all(math.isfinite(c) for c in self.affine(schedule, 1.0))
        except ZeroDivisionError:
            finite = False
        if not finite:
            raise ConfigError(
                f"{type(self).__name__} cannot recover x_0 at t = 1 where alpha is 0",
                value=type(schedule).__name__,
                fix="use the Clean, V or Flow parametrization",
            )

    def check_output(self, kernel: TransitionKernel, output: State, x_t: State) -> None:
        expect(output, tensor(x_t).shape, "its state")

    def law(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Distribution:
        skip, out, _, _ = self.affine(_gaussian(kernel).schedule, t)
        x0 = combine(layout, skip, tensor(x_t), out, tensor(output))
        return Dirac(x0, layout, output if isinstance(self, Noise) else None)

    def loss(
        self,
        kernel: TransitionKernel,
        output: State,
        x0: State,
        x_t: State,
        t: Time,
        layout: Layout,
    ) -> Float[Tensor, " batch"]:
        target = self.target(kernel, x0, x_t, t, layout)
        return layout.sum((tensor(output) - target) ** 2) / layout.sizes

    def target(
        self, kernel: TransitionKernel, x0: State, x_t: State, t: Time, layout: Layout
    ) -> Float[Tensor, "rows ..."]:
        """The output that gives the true x_0."""
        skip, out, _, _ = self.affine(_gaussian(kernel).schedule, t)
        x0, x_t = tensor(x0), tensor(x_t)
        return (x0 - layout.expand(skip, x_t) * x_t) / layout.expand(out, x_t)


class Direct(GaussianParametrization):
    """The network sees the state and the time as they are."""

    def inputs(self, kernel: TransitionKernel, x_t: State, t: Time, layout: Layout) -> State:
        return tensor(x_t)

    def label(self, kernel: TransitionKernel, t: Time) -> Time:
        return t


@final
@dataclass(frozen=True)
class Noise(Direct):
    """F = eps: x_0 = (x_t - sigma eps) / alpha (Ho 2020)."""

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        return Coefficients(1 / alpha, -sigma / alpha, 1.0, t)


@final
@dataclass(frozen=True)
class Clean(Direct):
    """F = x_0."""

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        return Coefficients(0.0, 1.0, 1.0, t)


@final
@dataclass(frozen=True)
class V(Direct):
    """F = v = alpha eps - sigma x_0: x_0 = (alpha x_t - sigma v) / (alpha^2 + sigma^2)
    (Salimans & Ho 2022, for any schedule)."""

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        norm = alpha**2 + sigma**2
        return Coefficients(alpha / norm, -sigma / norm, 1.0, t)


@final
@dataclass(frozen=True)
class Score(Direct):
    """F = grad log q(x_t): x_0 = (x_t + sigma^2 F) / alpha (Song 2021)."""

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        return Coefficients(1 / alpha, sigma**2 / alpha, 1.0, t)


@final
@dataclass(frozen=True)
class Flow(Direct):
    """F = dx/dt = alpha' x_0 + sigma' eps (Lipman 2023):
    x_0 = (sigma' x_t - sigma F) / (alpha sigma' - alpha' sigma)."""

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        d_alpha, d_sigma = schedule.d_alpha(t), schedule.d_sigma(t)
        wronskian = alpha * d_sigma - d_alpha * sigma
        return Coefficients(d_sigma / wronskian, -sigma / wronskian, 1.0, t)


@final
@dataclass(frozen=True)
class Preconditioned(GaussianParametrization):
    """The preconditioning of Karras 2022, with s = sigma / alpha and data of std `sigma_data`:
    c_skip = sd^2/(s^2 + sd^2), c_out = s sd/sqrt(s^2 + sd^2), c_in = 1/sqrt(s^2 + sd^2),
    label ln(s)/4."""

    sigma_data: float = 0.5

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        alpha = schedule.alpha(t)
        s = schedule.sigma(t) / alpha
        norm = s**2 + self.sigma_data**2
        root = norm**0.5
        log = torch.log(s) if isinstance(s, Tensor) else math.log(s)
        skip = self.sigma_data**2 / norm
        return Coefficients(skip / alpha, s * self.sigma_data / root, 1 / (root * alpha), log / 4)

    def inputs(self, kernel: TransitionKernel, x_t: State, t: Time, layout: Layout) -> State:
        x_t = tensor(x_t)
        return layout.expand(self.affine(_gaussian(kernel).schedule, t).scale, x_t) * x_t

    def label(self, kernel: TransitionKernel, t: Time) -> Time:
        return self.affine(_gaussian(kernel).schedule, t).label


@final
@dataclass(frozen=True, eq=False)
class Joint(Parametrization):
    """One parametrization per part of a product; losses are summed with `weights` (default 1)."""

    parts: Mapping[str, Parametrization]
    weights: Mapping[str, float] | None = None

    def check(self, kernel: TransitionKernel) -> None:
        if not isinstance(kernel, ProductKernel) or set(kernel.parts) != set(self.parts):
            raise ConfigError(
                "a joint parametrization has the parts of its product kernel",
                value=sorted(self.parts),
                limit=sorted(kernel.parts) if isinstance(kernel, ProductKernel) else type(kernel),
            )
        for name, part in self.parts.items():
            part.check(kernel.parts[name])
        if unknown := set(self.weights or {}) - set(self.parts):
            raise ConfigError(
                "weights of parts that do not exist",
                value=sorted(unknown),
                limit=sorted(self.parts),
            )

    def inputs(self, kernel: TransitionKernel, x_t: State, t: Time, layout: Layout) -> State:
        kernels, x_t = _kernels(kernel), parts(x_t, self.parts)
        return {
            n: tensor(p.inputs(kernels[n], x_t[n], t, layout[n])) for n, p in self.parts.items()
        }

    def label(self, kernel: TransitionKernel, t: Time) -> Time:
        return t

    def check_output(self, kernel: TransitionKernel, output: State, x_t: State) -> None:
        if isinstance(output, Tensor) or set(output) != set(self.parts):
            raise ConfigError(
                "the network puts out other parts than the state has",
                value=type(output).__name__ if isinstance(output, Tensor) else sorted(output),
                limit=sorted(self.parts),
                fix="return a dict with one tensor per part",
            )
        kernels, x_t = _kernels(kernel), parts(x_t, self.parts)
        for name, part in self.parts.items():
            part.check_output(kernels[name], output[name], x_t[name])

    def law(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Distribution:
        kernels = _kernels(kernel)
        output, x_t = parts(output, self.parts), parts(x_t, self.parts)
        return distributions.Product(
            {n: p.law(kernels[n], output[n], x_t[n], t, layout[n]) for n, p in self.parts.items()}
        )

    def loss(
        self,
        kernel: TransitionKernel,
        output: State,
        x0: State,
        x_t: State,
        t: Time,
        layout: Layout,
    ) -> Float[Tensor, " batch"]:
        kernels, weights = _kernels(kernel), self.weights or {}
        output, x0, x_t = (parts(x, self.parts) for x in (output, x0, x_t))
        losses = [
            weights.get(n, 1.0) * p.loss(kernels[n], output[n], x0[n], x_t[n], t, layout[n])
            for n, p in self.parts.items()
        ]
        return torch.stack(losses).sum(0)


def _gaussian(kernel: TransitionKernel) -> GaussianKernel:
    if not isinstance(kernel, GaussianKernel):
        raise ConfigError(
            "this parametrization needs a GaussianKernel", value=type(kernel).__name__
        )
    return kernel


def _kernels(kernel: TransitionKernel) -> Mapping[str, TransitionKernel]:
    if not isinstance(kernel, ProductKernel):
        raise ConfigError("this parametrization needs a ProductKernel", value=type(kernel).__name__)
    return kernel.parts
