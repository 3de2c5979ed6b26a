"""Projected gradient ascent on the expectation over the defence's noise (Madry 2018; Athalye 2018).

    d <- project(d + a ascent(1/n sum_j grad_x L(f(x + d; eps_j), y))),

under n fresh draws of the noise at every step, through the gradient that is named. The step a is
`step` eps, and falls to a tenth of that over the attack, so that the last iterate settles. With
momentum m a share m of the last step is taken again (Croce 2020, APGD):

    d' <- project(d + (1 - m) (step's d - d) + m (d - d before)).
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
from unnoise_purify.draws import numbered, parts
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
    momentum : share of the last step that is taken again.
    at_once : draws of the noise that are computed at once. More are faster where a batch of
        pictures does not fill the machine, and the memory of a gradient grows with them.
    """

    norm: Norm
    eps: float
    gradient: Gradient
    steps: int
    eot: int
    step: float | None = None
    loss: Loss = field(default_factory=CrossEntropy)
    subspace: Subspace = field(default_factory=Everything)
    momentum: float = 0.0
    at_once: int = 1

    def __post_init__(self) -> None:
        check_eps(self.eps)
        for what, value in (("steps", self.steps), ("eot", self.eot), ("at_once", self.at_once)):
            if value < 1:
                raise ConfigError(f"{what} is at least 1", value=value)
        if not 0 <= self.momentum < 1:
            raise ConfigError("momentum is a share", value=self.momentum, limit="0 <= m < 1")

    @property
    def name(self) -> str:
        words = [f"PGD-{self.steps}", f"EOT-{self.eot}", self.gradient.name]
        if self.step is not None:
            words.append(f"first step {self.step:g} eps")
        if not isinstance(self.loss, CrossEntropy):
            words.append(self.loss.name)
        if self.momentum:
            words.append(f"momentum {self.momentum:g}")
        return ", ".join([*words, self.subspace.name] if self.subspace.name else words)

    @property
    def first(self) -> float:
        """Size of the first step, in units of eps."""
        return min(5 / self.steps, 1.0) if self.step is None else self.step

    def run(
        self,
        defence: nn.Module,
        x: Float[Tensor, "batch c h w"],
        y: Int64[Tensor, " batch"],
        numbers: Sequence[int],
        seed: int,
    ) -> Attacked:
        start = self.norm.start(x, self.eps, NoiseSource(seed, numbers, _START))
        return self.climb(through(defence, self.gradient), x, y, numbers, seed, start)

    def climb(
        self,
        seen: nn.Module,
        x: Float[Tensor, "batch c h w"],
        y: Int64[Tensor, " batch"],
        numbers: Sequence[int],
        seed: int,
        start: Float[Tensor, "batch c h w"],
    ) -> Attacked:
        """As `run`, from the perturbation `start`, of a defence that has the attack's gradient."""
        d = last = self._inside(start, x)
        losses, sizes, none, bad = [], [], [], []
        for k in range(self.steps):
            loss, grad = self.expected(seen, x + d, y, numbers, seed, k)
            sane = torch.isfinite(grad).flatten(1).all(1)
            grad = torch.where(sane.view(-1, 1, 1, 1), grad, torch.zeros_like(grad))
            size = grad.flatten(1).norm(dim=1)
            losses.append(loss.mean())
            sizes.append(size.mean())
            none.append((sane & (size == 0)).float().mean())
            bad.append((~sane).float().mean())
            fall = 1 - 0.9 * k / self.steps
            way = self.norm.ascent(self.subspace.onto(grad))
            new = self._inside(d + self.first * fall * self.eps * way, x)
            if self.momentum:
                new = self._inside(new + self.momentum * (2 * d - new - last), x)
            d, last = new, d
        trace = Trace(_numbers(losses), _numbers(sizes), _mean(none), _mean(bad))
        return Attacked(x + d, trace)

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
        for begin, count in parts(self.eot, self.at_once):
            mine = x.detach().requires_grad_()
            query = step * self.eot + begin
            noise = numbered(seed, numbers, query, votes_of(defence), count)
            logits = logits_of(defence, mine.repeat_interleave(count, 0), noise)
            loss = self.loss(logits, y.repeat_interleave(count))
            (grad,) = torch.autograd.grad(loss.sum(), mine)
            total += loss.detach().view(-1, count).sum(1) / self.eot
            grads += grad / self.eot
        return total, grads

    def _inside(self, d: Tensor, x: Tensor) -> Tensor:
        """In the ball, with pictures that stay in [0, 1]."""
        return (x + self.subspace.within(d, self.norm, self.eps)).clamp(0, 1) - x


def through(defence: nn.Module, gradient: Gradient) -> nn.Module:
    """A defence with another gradient; a classifier without a purifier has but one."""
    return defence.like(gradient=gradient) if isinstance(defence, PurifiedClassifier) else defence


def _numbers(values: Sequence[Tensor]) -> tuple[float, ...]:
    return tuple(torch.stack(list(values)).tolist())  # an accelerator is waited for once


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.stack(list(values)).mean())
