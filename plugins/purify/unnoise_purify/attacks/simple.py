"""Attacks that never look at the defence: noise of the same size, and what fools the classifier
without its purifier. A stronger attack that does worse than these is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Int64
from torch import Tensor, nn

from unnoise.noise import NoiseSource
from unnoise_purify.attacks.base import Attack, Attacked, Trace, check_eps
from unnoise_purify.attacks.norms import Norm
from unnoise_purify.attacks.pgd import PGD
from unnoise_purify.defended import PurifiedClassifier
from unnoise_purify.gradients import Full


@final
@dataclass(frozen=True)
class RandomNoise(Attack):
    """Random noise of size eps, the corners of the ball for l_inf."""

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        check_eps(self.eps)

    @property
    def name(self) -> str:
        return "random noise"

    @property
    def black(self) -> bool:
        return True

    def run(
        self,
        defence: nn.Module,
        x: Float[Tensor, "batch c h w"],
        y: Int64[Tensor, " batch"],
        numbers: Sequence[int],
        seed: int,
    ) -> Attacked:
        d = self.norm.noise(x, self.eps, NoiseSource(seed, list(numbers)))
        return Attacked((x + d).clamp(0, 1), Trace())


@final
@dataclass(frozen=True)
class Transfer(Attack):
    """PGD on the classifier without its purifier."""

    norm: Norm
    eps: float
    steps: int = 40

    def __post_init__(self) -> None:
        check_eps(self.eps)

    @property
    def name(self) -> str:
        return f"transfer from the undefended classifier, PGD-{self.steps}"

    @property
    def black(self) -> bool:
        return True

    def run(
        self,
        defence: nn.Module,
        x: Float[Tensor, "batch c h w"],
        y: Int64[Tensor, " batch"],
        numbers: Sequence[int],
        seed: int,
    ) -> Attacked:
        bare = defence.classifier if isinstance(defence, PurifiedClassifier) else defence
        return PGD(self.norm, self.eps, Full(), self.steps, 1).run(bare, x, y, numbers, seed)
