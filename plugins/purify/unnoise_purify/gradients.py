"""What a gradient through a purification is: the closed set of ways in which attacks take it.

With z = P(x, eps) the purification of x under noise eps and L the loss behind it, an attack wants
dL / dx = (dz / dx)^T dL / dz. The value of z is the defence's own in every mode; the modes differ
in the matrix:

    Full          dz / dx of P itself, by automatic differentiation through every step.
    Adjoint       the same, by solving a differential equation backwards (Li 2020), which
                  remembers no state; see `unnoise_purify.adjoint`.
    Unclamped     that of P with predictions of x_0 that are not clamped to the range of the data:
                  where they are, the gradient of P is 0 and an attack sees nothing.
    Surrogate     that of a purification with fewer steps and the same first noise (Lee & Kim 2023).
    Identity      the identity (Athalye 2018, BPDA: z is close to x).

Only `Full` is the gradient. Most of the others are cheaper, and published defences were broken by
it after they had withstood them: what is reported must say which it was.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from unnoise.denoise import Condition, Denoiser, NetworkDenoiser
from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise.samplers import Checkpointed, Memory, Plain
from unnoise.spaces import Layout
from unnoise_purify.adjoint import check_sampler, walked
from unnoise_purify.purifier import Purifier


class Gradient(ABC):
    """How a purification is differentiated. Closed: `Full`, `Unclamped`, `Adjoint`, `Surrogate`,
    `Identity`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """In reports."""

    def check(self, purifier: Purifier) -> None:
        """Raise ConfigError where there is no such gradient of this purifier."""
        return

    def purified(
        self,
        purifier: Purifier,
        x: Tensor,
        layout: Layout,
        condition: Condition,
        noise: NoiseSource,
    ) -> Tensor:
        """The purification of data `x`, with this gradient."""
        if not (torch.is_grad_enabled() and x.requires_grad):
            return purifier(x, layout, condition, noise=noise)
        return self.differentiable(purifier, x, layout, condition, noise)

    @abstractmethod
    def differentiable(
        self,
        purifier: Purifier,
        x: Tensor,
        layout: Layout,
        condition: Condition,
        noise: NoiseSource,
    ) -> Tensor:
        """As `purified`, for data whose gradient is wanted."""


@final
@dataclass(frozen=True)
class Full(Gradient):
    """Through every step. `memory=Checkpointed()` gives the same numbers in less memory, for one
    more evaluation each: see `Purifier`."""

    memory: Memory = field(default_factory=Plain)

    @property
    def name(self) -> str:
        return "full"

    def differentiable(
        self,
        purifier: Purifier,
        x: Tensor,
        layout: Layout,
        condition: Condition,
        noise: NoiseSource,
    ) -> Tensor:
        return purifier(x, layout, condition, noise=noise, memory=self.memory)


@final
@dataclass(frozen=True)
class Unclamped(Gradient):
    """Through every step, predictions of x_0 left as the network makes them."""

    memory: Memory = field(default_factory=Plain)

    @property
    def name(self) -> str:
        return "full, unclamped"

    def check(self, purifier: Purifier) -> None:
        _unclamped(purifier.model.denoiser)

    def differentiable(
        self,
        purifier: Purifier,
        x: Tensor,
        layout: Layout,
        condition: Condition,
        noise: NoiseSource,
    ) -> Tensor:
        model = replace(purifier.model, denoiser=_unclamped(purifier.model.denoiser))
        free = replace(purifier, model=model)
        near = free(x, layout, condition, noise=noise.copy(), memory=self.memory)
        with torch.no_grad():
            value = purifier(x, layout, condition, noise=noise)
        return _through(value, near)


@final
@dataclass(frozen=True)
class Adjoint(Gradient):
    """By the adjoint equation, solved backwards over the times of the walk with its own noise; for
    `Ancestral` and `DDIM`. Each refinement is one more evaluation a step, and comes closer to
    `Full`."""

    refinements: int = 0

    def __post_init__(self) -> None:
        if self.refinements < 0:
            raise ConfigError("refinements are counted", value=self.refinements, limit=">= 0")

    @property
    def name(self) -> str:
        return f"adjoint, {self.refinements} refinements" if self.refinements else "adjoint"

    def check(self, purifier: Purifier) -> None:
        check_sampler(purifier.sampler)

    def differentiable(
        self,
        purifier: Purifier,
        x: Tensor,
        layout: Layout,
        condition: Condition,
        noise: NoiseSource,
    ) -> Tensor:
        z, states = purifier.embedded(x, layout, condition)
        begun = purifier.begun(z, states, noise)
        run = purifier.run(states, condition, noise)
        end = walked(purifier.sampler, run, begun, purifier.times, self.refinements)
        return purifier.decoded(end, states, condition)


@final
@dataclass(frozen=True)
class Surrogate(Gradient):
    """That of a purification with fewer steps."""

    steps: int = 3
    memory: Memory = field(default_factory=Plain)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError("a surrogate has at least one step", value=self.steps)

    @property
    def name(self) -> str:
        return f"surrogate of {self.steps} steps"

    def check(self, purifier: Purifier) -> None:
        if self.steps >= purifier.steps:
            raise ConfigError(
                "a surrogate has fewer steps than the purifier",
                value=self.steps,
                limit=f"< {purifier.steps}",
                fix="take the full gradient",
            )

    def differentiable(
        self,
        purifier: Purifier,
        x: Tensor,
        layout: Layout,
        condition: Condition,
        noise: NoiseSource,
    ) -> Tensor:
        few = replace(purifier, steps=self.steps)
        near = few(x, layout, condition, noise=noise.copy(), memory=self.memory)
        with torch.no_grad():
            value = purifier(x, layout, condition, noise=noise)
        return _through(value, near)


@final
@dataclass(frozen=True)
class Identity(Gradient):
    """The identity, BPDA: the purification is no function of x but x itself."""

    @property
    def name(self) -> str:
        return "identity (BPDA)"

    def differentiable(
        self,
        purifier: Purifier,
        x: Tensor,
        layout: Layout,
        condition: Condition,
        noise: NoiseSource,
    ) -> Tensor:
        with torch.no_grad():
            value = purifier(x, layout, condition, noise=noise)
        return _through(value, x)


def _unclamped(denoiser: Denoiser) -> NetworkDenoiser:
    """A denoiser with the same network that clamps nothing; ConfigError where it clamps nothing
    anyway, or is no network."""
    if not isinstance(denoiser, NetworkDenoiser) or denoiser.clip is None:
        raise ConfigError(
            "this denoiser does not clamp its predictions",
            value=type(denoiser).__name__,
            fix="take the full gradient",
        )
    twin = copy.copy(denoiser)
    twin.clip = None
    return twin


def _through(value: Tensor, x: Tensor) -> Tensor:
    """`value`, exactly, with the gradient of `x`."""
    shown: Tensor = _Through.apply(value, x)  # type: ignore[no-untyped-call]  # torch's
    return shown


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(value: Tensor, x: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: object) -> None:
        pass

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad


GRADIENTS = {
    "full": Full(),
    "checkpointed": Full(Checkpointed()),
    "unclamped": Unclamped(),
    "adjoint": Adjoint(),
    "surrogate": Surrogate(),
    "bpda": Identity(),
}
"""By the names that a command line takes."""
