"""Where perturbations live: everywhere, or among the low frequencies.

Purification removes what is small beside its noise, and that noise is white: an attack that puts
its energy where natural pictures have theirs is drowned less. The low frequencies are the first k x
k coefficients of the orthonormal cosine transform of each channel,

    P d = C_k^T (C_k d C_k^T) C_k,      C[u, i] = c_u cos(pi (2 i + 1) u / 2 n).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import ConfigError
from unnoise_purify.attacks.norms import Norm

Pictures = Float[Tensor, "batch c h w"]


class Subspace(ABC):
    """A linear space of perturbations. Closed: `Everything`, `LowFrequency`."""

    name: str

    @abstractmethod
    def onto(self, d: Pictures) -> Pictures:
        """The orthogonal projection."""

    @abstractmethod
    def within(self, d: Pictures, norm: Norm, eps: float) -> Pictures:
        """A perturbation of the space, brought into the ball without leaving the space."""


@final
@dataclass(frozen=True)
class Everything(Subspace):
    """All perturbations."""

    name = ""

    def onto(self, d: Pictures) -> Pictures:
        return d

    def within(self, d: Pictures, norm: Norm, eps: float) -> Pictures:
        return norm.project(d, eps)


@final
@dataclass(frozen=True)
class LowFrequency(Subspace):
    """The lowest `keep` x `keep` frequencies."""

    keep: int = 7

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ConfigError("at least one frequency is kept", value=self.keep, limit=">= 1")

    @property
    def name(self) -> str:  # type: ignore[override]  # read-only is enough
        return f"low frequency {self.keep}x{self.keep}"

    def onto(self, d: Pictures) -> Pictures:
        rows, columns = (_low(n, self.keep).to(d) for n in d.shape[-2:])
        return rows @ d @ columns

    def within(self, d: Pictures, norm: Norm, eps: float) -> Pictures:
        return norm.scaled(self.onto(d), eps)


@lru_cache(maxsize=16)
def _low(n: int, keep: int) -> Tensor:
    """The projection (n, n) onto the first `keep` cosines of length n."""
    i, u = torch.arange(n, dtype=torch.float64), torch.arange(min(keep, n), dtype=torch.float64)
    basis = torch.cos(math.pi * (2 * i[None] + 1) * u[:, None] / (2 * n)) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return (basis.mT @ basis).float()
