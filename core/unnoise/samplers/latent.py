"""States at t = 1 as codes of the data: DDIM's inversion and interpolation (Song 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unnoise.errors import IncompatibleSampler, InputError
from unnoise.kernels import GaussianKernel
from unnoise.samplers.algebra import noise_in, schedule_of, spans, transfer
from unnoise.samplers.base import Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import Layout


def invert(run: Diffusion, x: Tensor, grid: Times) -> Tensor:
    """The state at grid[0] that DDIM takes to `x` at grid[-1], up to an error of first order.

    The grid is walked backwards along eps predicted at the smaller time of each interval; from
    clean data, where eps is not defined, it is predicted for alpha_t x at the first positive time.
    `Start(invert(...), t=grid[0], corrupt=False)` runs it forwards again.

    Raises
    ------
    IncompatibleSampler : the kernel is not Gaussian.
    InputError : the grid is not decreasing.
    """
    if not isinstance(run.kernel, GaussianKernel):
        raise IncompatibleSampler(
            "inversion needs a GaussianKernel", value=type(run.kernel).__name__
        )
    schedule = schedule_of(run.kernel)
    for a, b in reversed(spans(schedule, grid)):
        at = b if b.sigma > 0 else a
        seen = x if at is b else x * a.alpha
        law = run(seen, at.t)
        x = transfer(x, noise_in(seen, law, at), b, a)
    return x


def slerp(a: Tensor, b: Tensor, weights: Sequence[float], layout: Layout) -> list[Tensor]:
    """States on the great circle from `a` (weight 0) to `b` (weight 1), one for each weight.

        sin((1 - w) angle) / sin(angle) a + sin(w angle) / sin(angle) b,

    the angle being that of each sample. Where its sine is below 1e-6 the formula is 0 / 0 and the
    straight line takes its place. Raises InputError when the shapes differ or a weight is not
    finite.
    """
    if a.shape != b.shape or tuple(a.shape) != layout.shape:
        raise InputError(
            "interpolation needs two states of one shape",
            value=(tuple(a.shape), tuple(b.shape)),
            limit=layout.shape,
        )
    w = torch.as_tensor(list(weights), dtype=torch.float64)
    if not len(w) or not bool(torch.isfinite(w).all()):
        raise InputError("weights are finite numbers, at least one", value=list(weights)[:5])
    u, v = a.double(), b.double()
    norms = (layout.sum(u**2) * layout.sum(v**2)).sqrt()
    cosine = (layout.sum(u * v) / norms.clamp(min=1e-300)).clamp(-1, 1)
    angle = torch.arccos(cosine)
    sine = torch.sin(angle)
    small = sine < 1e-6
    sine = torch.where(small, torch.ones_like(sine), sine)
    states = []
    for weight in w.tolist():
        first = torch.where(small, 1 - weight, torch.sin((1 - weight) * angle) / sine)
        second = torch.where(small, weight, torch.sin(weight * angle) / sine)
        state = layout.expand(first, u) * u + layout.expand(second, v) * v
        states.append(state.to(a.dtype))
    return states
