"""The balls that attacks stay in, for pictures in [0, 1].

l_inf   |d|_inf <= eps,  steepest ascent  d += a sign(g)
l_2     |d|_2   <= eps,  steepest ascent  d += a g / |g|_2
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import InputError, nearest
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout

Pictures = Float[Tensor, "batch c h w"]


class Norm(ABC):
    """A norm of perturbations. Closed: `Linf`, `L2`."""

    name: str

    @abstractmethod
    def size(self, d: Pictures) -> Float[Tensor, " batch"]:
        """The norm of each perturbation."""

    @abstractmethod
    def project(self, d: Pictures, eps: float) -> Pictures:
        """The nearest perturbation in the ball."""

    @abstractmethod
    def ascent(self, grad: Pictures) -> Pictures:
        """The perturbation of size 1 that gains most along a gradient; 0 where that is 0."""

    @abstractmethod
    def start(self, x: Pictures, eps: float, noise: NoiseSource) -> Pictures:
        """A random perturbation in the ball, to begin with."""

    @abstractmethod
    def noise(self, x: Pictures, eps: float, noise: NoiseSource) -> Pictures:
        """Random noise of size eps."""

    def scaled(self, d: Pictures, eps: float) -> Pictures:
        """The perturbation made small enough for the ball, by one factor for all of its entries."""
        size = self.size(d).clamp(min=1e-12).view(-1, 1, 1, 1)
        return d * (eps / size).clamp(max=1)


@final
@dataclass(frozen=True)
class Linf(Norm):
    """The largest change of an entry."""

    name = "l_inf"

    def size(self, d: Pictures) -> Float[Tensor, " batch"]:
        return d.abs().flatten(1).amax(1)

    def project(self, d: Pictures, eps: float) -> Pictures:
        return d.clamp(-eps, eps)

    def ascent(self, grad: Pictures) -> Pictures:
        return grad.sign()

    def start(self, x: Pictures, eps: float, noise: NoiseSource) -> Pictures:
        return eps * (2 * _uniform(x, noise) - 1)

    def noise(self, x: Pictures, eps: float, noise: NoiseSource) -> Pictures:
        return eps * (2 * _uniform(x, noise) - 1).sign()


@final
@dataclass(frozen=True)
class L2(Norm):
    """The Euclidean length of the change."""

    name = "l_2"

    def size(self, d: Pictures) -> Float[Tensor, " batch"]:
        size: Tensor = torch.linalg.vector_norm(d.flatten(1), dim=1)
        return size

    def project(self, d: Pictures, eps: float) -> Pictures:
        return self.scaled(d, eps)

    def ascent(self, grad: Pictures) -> Pictures:
        length: Tensor = self.size(grad).clamp(min=1e-30).view(-1, 1, 1, 1)
        return grad / length

    def start(self, x: Pictures, eps: float, noise: NoiseSource) -> Pictures:
        return self.noise(x, eps, noise) / 2

    def noise(self, x: Pictures, eps: float, noise: NoiseSource) -> Pictures:
        return eps * self.ascent(noise.normal(_layout(x)))


NORMS: Final = {"l_inf": Linf(), "l_2": L2()}


def norm_named(name: str | Norm) -> Norm:
    """The norm of this name; InputError says which there are."""
    if isinstance(name, Norm):
        return name
    found = NORMS.get(name.lower().replace("linf", "l_inf").replace("l2", "l_2"))
    if found is None:
        raise InputError(
            "there is no such norm", value=name, limit=", ".join(NORMS), fix=nearest(name, NORMS)
        )
    return found


def _layout(x: Tensor) -> Layout:
    return Layout.dense(len(x), x.shape[1:], dtype=torch.float32, device=x.device)


def _uniform(x: Tensor, noise: NoiseSource) -> Tensor:
    return noise.uniform(_layout(x)).float()
