"""Cheaper than particles, and not exact: one state that is pulled towards what was asked for.

DPS and PiGDM follow the gradient of a twist,

    E[x_0 | x_t] + scale (sigma_t^2 / alpha_t) grad log psi_t(x_t)

and MMPS and DiffPIR update the mean m of x_0 by a measurement y = A x_0 + n, n ~ N(0, R), as if
x_0 were N(m, V):

    m + V A' (A V A' + R)^-1 (y - A m)

    V = (sigma_t^2 / alpha_t) dm / dx_t     MMPS (Rozet 2024): what x_0's covariance is
    V = sigma_t^2 / (alpha_t^2 strength)    DiffPIR (Zhu 2023): its proximal step

With the exact twist, or where x_0 given x_t is Gaussian and V its covariance, these are the means
of the exact posterior. Otherwise they are not, however many steps are taken: DPS believes the mean
(Chung 2023), PiGDM a Gaussian around it whose width is that of the schedule (Song 2023). `SMC`
weighs such proposals, and is exact in the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.conditioning.potentials import Measurement, Potential
from unnoise.conditioning.twists import Spread, Tweedie, Twist
from unnoise.denoise import ClassifierGuided, Condition, Denoiser
from unnoise.denoise.base import Range, check_range, clipped
from unnoise.distributions import Dirac, Distribution
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import GaussianKernel
from unnoise.spaces import Layout, State, Time, tensor

_SOLVED: Final = 1e-20
"""Of the squared residual that a solution began with."""


def dps(denoiser: Denoiser, potential: Potential, scale: float = 1.0) -> ClassifierGuided:
    """Diffusion posterior sampling: a denoiser that follows the gradient of log g at its mean."""
    return _guided(denoiser, potential, Tweedie(), scale)


def pigdm(
    denoiser: Denoiser, potential: Potential, variance: float = 1.0, scale: float = 1.0
) -> ClassifierGuided:
    """Pseudo-inverse guidance: the gradient of log E g over a Gaussian around the mean; `variance`
    is that of the entries of the data."""
    return _guided(denoiser, potential, Spread(variance), scale)


def mmps(
    denoiser: Denoiser, measurement: Measurement, iterations: int = 5, clip: Range = None
) -> Denoiser:
    """Moment matching posterior sampling: the covariance of x_0 given x_t is the Jacobian of its
    mean, and the linear system is solved by so many steps of conjugate gradients. A network's
    Jacobian may be no covariance: the solution of a sample is left where that shows. A measurement
    that is not linear is taken as its tangent at the mean, and what comes out is clamped to `clip`.
    """
    return _Updated(denoiser, measurement, iterations, None, clip)


def diffpir(
    denoiser: Denoiser,
    measurement: Measurement,
    strength: float = 1.0,
    iterations: int = 20,
    clip: Range = None,
) -> Denoiser:
    """The proximal step of DiffPIR: `strength` (lambda there) is how far the mean is trusted beside
    the measurement; what comes out is clamped to `clip`. Walk it with `Renoised`, which is
    DiffPIR's own step."""
    if not strength > 0:
        raise InputError("the strength of a proximal step is positive", value=strength, limit="> 0")
    return _Updated(denoiser, measurement, iterations, strength, clip)


def _guided(
    denoiser: Denoiser, potential: Potential, twist: Twist, scale: float
) -> ClassifierGuided:
    def log_prob(
        x_t: State, t: Time, layout: Layout, condition: Condition
    ) -> Float[Tensor, " batch"]:
        law = twist.law(denoiser(x_t, t, layout, condition), denoiser.kernel, t)
        found = twist.log(potential, law, layout)
        if not found.requires_grad:
            raise ConfigError(
                f"{type(potential).__name__} has no gradient to follow",
                value=type(twist).__name__,
                fix="write it with differentiable operations, or use SMC(twist=Bootstrap())",
            )
        return found

    return ClassifierGuided(denoiser, scale, log_prob)


@final
class _Updated(Denoiser):
    """The mean of x_0, updated by a measurement."""

    def __init__(
        self,
        denoiser: Denoiser,
        measurement: Measurement,
        iterations: int,
        strength: float | None,
        clip: Range,
    ) -> None:
        super().__init__()
        check_range(clip, denoiser.kernel)
        self.clip = clip
        if not isinstance(denoiser.kernel, GaussianKernel):
            raise ConfigError(
                "a mean is updated by a measurement under a GaussianKernel",
                value=type(denoiser.kernel).__name__,
                fix="use SMC",
            )
        if not isinstance(measurement, Measurement):
            raise InputError(
                "a mean is updated by a Measurement",
                value=type(measurement).__name__,
                fix="use dps, pigdm or SMC for other potentials",
            )
        if iterations < 1:
            raise InputError("a system is solved in steps", value=iterations, limit=">= 1")
        self.denoiser, self.kernel = denoiser, denoiser.kernel
        self.schedule = denoiser.kernel.schedule
        self.measurement, self.iterations, self.strength = measurement, iterations, strength

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        moments = self.strength is None
        with torch.set_grad_enabled(moments or torch.is_grad_enabled()):
            x = tensor(x_t)
            if moments and not x.requires_grad:
                x = x.detach().requires_grad_()
            mean = tensor(self.denoiser(x, t, layout, condition).mean)
        width = self.schedule.sigma(t) ** 2 / self.schedule.alpha(t)
        if self.strength is not None:
            v = layout.expand(width / self.schedule.alpha(t) / self.strength, mean)
            return self._law(mean, lambda u: u * v, layout)

        def covariance(u: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(mean, x, u, retain_graph=True)
            return layout.expand(width, found) * found

        return self._law(mean, covariance, layout)

    def _law(
        self, mean: Tensor, covariance: Callable[[Tensor], Tensor], layout: Layout
    ) -> Distribution:
        found = self._update(mean.detach(), covariance, layout)
        found = tensor(self.kernel.space.project(found, layout))
        return clipped(Dirac(found, layout), self.clip, layout)

    @torch.no_grad()
    def _update(
        self, mean: Tensor, covariance: Callable[[Tensor], Tensor], layout: Layout
    ) -> Tensor:
        """m + V A' (A V A' + R)^-1 (y - A m)."""
        measured = self.measurement
        kept = measured.kept
        with torch.enable_grad():
            at = mean.requires_grad_()
            seen = measured.seen(at, layout)
            back = torch.zeros_like(seen, requires_grad=True)
            (pulled,) = torch.autograd.grad(seen, at, back, create_graph=True)

        def hidden(u: Tensor) -> Tensor:
            return u if kept is None else torch.where(kept, u, 0.0)

        def transposed(u: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(pulled, back, u, retain_graph=True)
            return found

        def adjoint(u: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(seen, at, hidden(u), retain_graph=True)
            return found

        def system(u: Tensor) -> Tensor:
            return hidden(transposed(covariance(adjoint(u)))) + measured.noise**2 * u

        error = hidden((measured.y.to(seen) - seen).detach().expand(seen.shape))
        u = _solved(system, error, self.iterations)
        return (mean.detach() + covariance(adjoint(u))).detach()


def _solved(system: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """(B, ...) conjugate gradients, each sample for itself; a sample stops where the system turns
    out not to be positive."""

    def inner(a: Tensor, c: Tensor) -> Tensor:
        return (a * c).flatten(1).sum(1).view(-1, *(1,) * (b.ndim - 1))

    u, r = torch.zeros_like(b), b
    p, size = r, inner(r, r)
    least = _SOLVED * size
    for _ in range(iterations):
        moved = system(p)
        curved = inner(p, moved)
        going = (size > least) & (curved > 0)
        step = torch.where(going, size / curved.clamp(min=torch.finfo(b.dtype).tiny), 0.0)
        u, r = u + step * p, r - step * moved
        after = inner(r, r)
        p = r + torch.where(going, after / size.clamp(min=torch.finfo(b.dtype).tiny), 0.0) * p
        size = torch.where(going, after, 0.0)
    return u
