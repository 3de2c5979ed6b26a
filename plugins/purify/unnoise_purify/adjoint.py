"""The adjoint gradient of a stochastic walk (Li 2020; DiffPure's own).

A step of ancestral sampling or DDIM is, with the coefficients of the Gaussian kernel's bridge,

    x_s = k x_t + c_0 xhat(x_t, t) + w,     w = c z,

one exponential Euler step of the reverse SDE (of the probability-flow ODE at eta = 0). The adjoint
a(t) = dL / dx_t obeys the linear equation of its derivative, and the same step solves it backwards,

    a_t = k a_s + c_0 (d xhat / d x_t)^T a_s.

States are not remembered: that equation is solved backwards, too, with the same w,

    x_t = (x_s - w - c_0 xhat(x_s, s)) / k,

which is off by one step's change of xhat, first order in the step; evaluating xhat at what was
found and solving again (a refinement) brings x_t closer. The step to t = 0, where k = 0, cannot be
undone, and the state before it is kept. What is kept besides is w: the noise of each step, N S
bytes as `Checkpointed` keeps of states. The error of the result is the price, not of the memory:
the mode is here because published evaluations took it, and to be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unnoise.distributions import Dirac, Distribution
from unnoise.errors import ConfigError
from unnoise.samplers import DDIM, Ancestral, Diffusion, Sampler, Times, walk
from unnoise.samplers.algebra import Level, schedule_of, spans
from unnoise.spaces import tensor


def check_sampler(sampler: Sampler) -> None:
    """ConfigError unless the adjoint of a sampler is known."""
    if not isinstance(sampler, Ancestral | DDIM):
        raise ConfigError(
            "the adjoint gradient is that of ancestral sampling and DDIM",
            value=type(sampler).__name__,
            fix="take the full gradient, checkpointed if memory is short",
        )


def walked(sampler: Sampler, run: Diffusion, x: Tensor, grid: Times, refinements: int) -> Tensor:
    """The end of a walk from `x`, with the adjoint gradient with respect to `x`.

    Raises ConfigError for another sampler, and for a denoiser that predicts no point.
    """
    check_sampler(sampler)
    eta = sampler.eta if isinstance(sampler, DDIM) else 1.0
    steps = [_Step.between(a, b, eta) for a, b in spans(schedule_of(run.kernel), grid)]
    own = _Walk(sampler, run, grid, steps, refinements)
    end: Tensor = _Adjoint.apply(x, own)  # type: ignore[no-untyped-call]  # torch's
    return end


@final
@dataclass(frozen=True)
class _Step:
    """Coefficients of one step from t to s."""

    t: float
    s: float
    k: float
    c0: float

    @staticmethod
    def between(a: Level, b: Level, eta: float) -> _Step:
        r = (a.alpha * b.sigma) / (b.alpha * a.sigma)
        k = b.sigma * math.sqrt(max(1 - eta**2 + (eta * r) ** 2, 0.0)) / a.sigma
        return _Step(a.t, b.t, k, b.alpha - k * a.alpha)


@final
@dataclass(eq=False)
class _Walk:
    """A walk, and what it leaves for the way back: the noise of each step, and the state before
    the last."""

    sampler: Sampler
    run: Diffusion
    grid: Times
    steps: list[_Step]
    refinements: int
    noise: list[Tensor] = field(default_factory=list)
    last: Tensor = field(default_factory=lambda: torch.empty(0))

    def forth(self, x: Tensor) -> Tensor:
        for step, found in zip(self.steps, walk(self.sampler, self.run, x, self.grid), strict=True):
            mean = x * step.k + _point(found.x0) * step.c0
            self.noise.append(tensor(found.x) - mean)
            self.last, x = x, tensor(found.x)
        return x

    def back(self, a: Tensor) -> Tensor:
        """dL / dx at the start, of dL / dx at the end."""
        x, final = self.last, self.steps[-1]
        xhat, pulled = self._pulled(x, final.t, a)
        a = a * final.k + pulled * final.c0
        for step, w in zip(self.steps[-2::-1], self.noise[-2::-1], strict=True):
            known = x - w
            x = (known - xhat * step.c0) / step.k
            for _ in range(self.refinements):
                with torch.no_grad():
                    x = (known - _point(self._asked(x, step.t)) * step.c0) / step.k
            xhat, pulled = self._pulled(x, step.t, a)
            a = a * step.k + pulled * step.c0
        return a

    def _asked(self, x: Tensor, t: float) -> Distribution:
        # nothing is drawn by a point, so that a source that is used up does not matter
        return self.run(x, t)

    def _pulled(self, x: Tensor, t: float, a: Tensor) -> tuple[Tensor, Tensor]:
        """xhat(x, t), and (d xhat / dx)^T a."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            point = _point(self._asked(x, t))
            (pulled,) = torch.autograd.grad(point, x, a)
        return point.detach(), pulled


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, own: _Walk) -> Tensor:
        ctx.own = own
        return own.forth(x.detach())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, a: Tensor) -> tuple[Tensor, None]:
        own: _Walk = ctx.own
        return own.back(a), None


def _point(law: Distribution) -> Tensor:
    if not isinstance(law, Dirac):
        raise ConfigError(
            "the adjoint gradient needs a denoiser that predicts a point",
            value=type(law).__name__,
            fix="take the full gradient",
        )
    return tensor(law.value)
