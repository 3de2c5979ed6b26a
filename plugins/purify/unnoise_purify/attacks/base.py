"""What an attack is, and what it leaves behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Int64
from torch import Tensor, nn

from unnoise.errors import InputError
from unnoise_purify.attacks.norms import Norm


@final
@dataclass(frozen=True)
class Trace:
    """How an attack went, step by step, means over the pictures of a batch.

    Attributes
    ----------
    loss : before each step, of the expectation over the defence's noise.
    gradient : l_2 norm of the gradient of a picture at each step; empty for attacks without.
    zero : share of pictures whose gradient was 0 at a step, over all steps.
    broken : share whose gradient was not finite.
    """

    loss: tuple[float, ...] = ()
    gradient: tuple[float, ...] = ()
    zero: float = 0.0
    broken: float = 0.0


@final
@dataclass(frozen=True, eq=False)
class Attacked:
    """Pictures within the attack's ball around those that were given, and the trace."""

    pictures: Float[Tensor, "batch c h w"]
    trace: Trace


class Attack(ABC):
    """Looks for pictures near `x` that a defence gets wrong.

    Attributes
    ----------
    norm, eps : the ball that it stays in.
    """

    norm: Norm
    eps: float

    @property
    @abstractmethod
    def name(self) -> str:
        """In reports: everything that tells it from others of the same norm and eps."""

    @property
    def black(self) -> bool:
        """Whether it looks at the defence's answers alone, or not even at those."""
        return False

    @abstractmethod
    def run(
        self,
        defence: nn.Module,
        x: Float[Tensor, "batch c h w"],
        y: Int64[Tensor, " batch"],
        numbers: Sequence[int],
        seed: int,
    ) -> Attacked:
        """Attack pictures in [0, 1] with labels `y`.

        What is drawn, by the defence too, is a function of `seed` and of the `numbers` of the
        pictures, whatever batch they are in.
        """


def check_eps(eps: float) -> None:
    """Raise InputError unless eps is a radius."""
    if not 0 < eps < float("inf"):
        raise InputError("eps is the radius of a ball", value=eps, limit="> 0")
