"""Projected gradient ascent on the expectation over the defence's noise (Madry 2018; Athalye 2018).

    d <- project(d + a ascent(1/n sum_j grad_x L(f(x + d; eps_j), y))),

under n fresh draws of the noise at every step, through the gradient that is named. The step a is
`step` eps, and falls to a tenth of that over the attack, so that the last iterate settles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise_purify.attacks.base import Attack, Attacked, Trace, check_eps
from unnoise_purify.attacks.losses import CrossEntropy, Loss
from unnoise_purify.attacks.norms import Norm
from unnoise_purify.attacks.subspaces import Everything, Subspace
from unnoise_purify.defended import PurifiedClassifier, logits_of, votes_of
from unnoise_purify.draws import numbered
from unnoise_purify.gradients import Gradient

_START = 1  # branch of the noise of where an attack begins


@final
@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient ascent with expectation over transformation.

    Attributes
    ----------
    norm, eps : the ball.
    gradient : through the purifier, `unnoise_purify.gradients`.
    steps, eot : steps, and draws of the noise at each.
    step : size of the first step, in units of eps; by default 5 / steps, so that the whole
        ball can be crossed.
    loss : what is ascended.
    subspace : what perturbations are made of.
    """

    norm: Norm
    eps: float
    gradient: Gradient
    steps: int
    eot: int
    step: float | None = None
    loss: Loss = field(default_factory=CrossEntropy)
    subspace: Subspace = field(default_factory=Everything)

    def __post_init__(self) -> None:
        check_eps(self.eps)
        for what, value in (("steps", self.steps), ("eot", self.eot)):
            if value < 1:
                raise ConfigError(f"{what} is at least 1", value=value)

    @property
    def name(self) -> str:
        parts = [f"PGD-{self.steps}", f"EOT-{self.eot}", self.gradient.name]
        if self.step is not None:
            parts.append(f"first step {self.step:g} eps")
        if not isinstance(self.loss, CrossEntropy):
            parts.append(self.loss.name)
        return ", ".join([*parts, self.subspace.name] if self.subspace.name else parts)

    def run(
        self,
        defence: nn.Module,
        x: Float[Tensor, "batch c h w"],
        y: Int64[Tensor, " batch"],
        numbers: Sequence[int],
        seed: int,
    ) -> Attacked:
        seen = through(defence, self.gradient)
        d = self._inside(self.norm.start(x, self.eps, NoiseSource(seed, numbers, _START)), x)
        losses, sizes = [], []
        zero = broken = 0.0
        first = min(5 / self.steps, 1.0) if self.step is None else self.step
        for k in range(self.steps):
            loss, grad = self.expected(seen, x + d, y, numbers, seed, k)
            sane = torch.isfinite(grad).flatten(1).all(1)
            grad = torch.where(sane.view(-1, 1, 1, 1), grad, torch.zeros_like(grad))
            size = grad.flatten(1).norm(dim=1)
            losses.append(float(loss.mean()))
            sizes.append(float(size.mean()))
            zero += float((sane & (size == 0)).float().mean()) / self.steps
            broken += float((~sane).float().mean()) / self.steps
            fall = 1 - 0.9 * k / self.steps
            way = self.norm.ascent(self.subspace.onto(grad))
            d = self._inside(d + first * fall * self.eps * way, x)
        return Attacked(x + d, Trace(tuple(losses), tuple(sizes), zero, broken))

    def expected(
        self,
        defence: nn.Module,
        x: Float[Tensor, "batch c h w"],
        y: Int64[Tensor, " batch"],
        numbers: Sequence[int],
        seed: int,
        step: int,
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch c h w"]]:
        """Mean loss of each picture over `eot` draws, and its gradient: that of the defence, which
        `run` has set, `through`."""
        total, grads = torch.zeros(len(x), device=x.device), torch.zeros_like(x)
        for j in range(self.eot):
            mine = x.detach().requires_grad_()
            noise = numbered(seed, numbers, step * self.eot + j, votes_of(defence))
            loss = self.loss(logits_of(defence, mine, noise), y)
            (grad,) = torch.autograd.grad(loss.sum(), mine)
            total += loss.detach() / self.eot
            grads += grad / self.eot
        return total, grads

    def _inside(self, d: Tensor, x: Tensor) -> Tensor:
        """In the ball, with pictures that stay in [0, 1]."""
        return (x + self.subspace.within(d, self.norm, self.eps)).clamp(0, 1) - x


def through(defence: nn.Module, gradient: Gradient) -> nn.Module:
    """A defence with another gradient; a classifier without a purifier has but one."""
    return defence.like(gradient=gradient) if isinstance(defence, PurifiedClassifier) else defence
