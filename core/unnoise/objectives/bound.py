"""The variational bound, for every kernel, from its four lines."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.distributions import Dirac, Distribution, Gaussian
from unnoise.errors import InputError
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.objectives.data_types import Reading
from unnoise.samplers import Diffusion
from unnoise.spaces import Layout, State, Time, tensor

_LAST_DRAWS = 4  # of the last step, whose error is not seen otherwise


@final
@dataclass(frozen=True, eq=False)
class Bound:
    """-log p(x_0) <= prior + steps + reconstruction, each (B,), nats.

    `standard_error` is that of the estimate of `steps` and `reconstruction` from finitely many
    noisy states: from the differences between neighbouring times, which slightly overstates it,
    and between draws of the last step. Infinite where there is one draw only. `evaluations` are
    those of a network.
    """

    prior: Float[Tensor, " batch"]
    steps: Float[Tensor, " batch"]
    reconstruction: Float[Tensor, " batch"]
    standard_error: Float[Tensor, " batch"]
    evaluations: int

    @property
    def total(self) -> Float[Tensor, " batch"]:
        """(B,) the bound."""
        return self.prior + self.steps + self.reconstruction


def bound(
    run: Diffusion,
    x0: State,
    *,
    steps: int = 1000,
    evaluations: int | None = None,
    data: Reading | None = None,
) -> Bound:
    """Estimate the variational bound of the ancestral chain with `steps` equal steps.

        KL(q(x_1 | x_0) || prior)
        + sum_i E KL(q(x_s | x_t, x_0) || reverse(x_t, run(x_t, t)))    (neighbours s < t, s > 0)
        + E -log p(x_0 | x_t)                                             (the last step)

    Parameters
    ----------
    steps : length of the chain; for a discrete kernel a divisor of T.
    evaluations : times at which the middle sum is evaluated, one draw of x_t each, stratified over
        the chain, finer towards t = 0; all of them by default.
    data : what x_0 is, for Gaussian kernels. With `Quantised` the last step gives probabilities of
        levels (the discretised decoder), by default a density. A denoiser that returns a point
        gets the variance of the posterior one step before the last, the first entry of DDPM's
        fixed-large variances.

    Raises
    ------
    InputError : `steps` is no chain of the kernel, or x_0 is not such data.
    """
    kernel, layout = run.kernel, run.layout
    if steps < 1 or (kernel.steps is not None and kernel.steps % steps):
        limit = ">= 1" if kernel.steps is None else f"a divisor of {kernel.steps}"
        raise InputError("the bound needs a chain of the kernel", value=steps, limit=limit)
    if data is not None and isinstance(kernel, GaussianKernel):
        data.check(x0, layout)
    before = run.evaluations
    prior = kernel.marginal(x0, 1.0, layout).kl(kernel.prior(layout))
    last = _LAST_DRAWS if steps > 1 else 1
    draws = [_last_step(run, x0, steps, data) for _ in range(last)]
    table = torch.stack(draws).double()
    reconstruction, error = table.mean(0), table.var(0, correction=min(1, last - 1)) / last
    middle = steps - 1
    if middle == 0:
        unknown = torch.full_like(error, torch.inf)
        return Bound(
            prior, torch.zeros_like(error), reconstruction, unknown, run.evaluations - before
        )
    n = min(evaluations or middle, middle)
    edges, rows = _strata(middle, n), []
    for low, high in pairwise(edges):
        u: float | Tensor = 0.5
        if n < middle:
            u = run.noise.uniform(Layout.dense(layout.batch, device=layout.device))
        i = low + (high - low) * u // 1 + 1  # s = i / steps, i = 1 .. steps - 1
        rows.append(step_term(run, x0, i / steps, (i + 1) / steps))
    table = torch.stack(rows).double()
    width = torch.tensor(edges, dtype=torch.float64, device=table.device).diff()[:, None]
    if n > 1:
        differences = table.diff(dim=0) * (width[1:] + width[:-1]) / 2
        error = error + differences.square().sum(0) / 2 * n / (n - 1)
    else:
        error = torch.full_like(error, torch.inf)
    total, spent = (width * table).sum(0), run.evaluations - before
    return Bound(prior, total, reconstruction, error.sqrt(), spent)


def _strata(steps: int, n: int) -> list[int]:
    """n + 1 edges that cut 0 .. `steps` into n parts which grow linearly, from 1 step each: the
    first steps above t = 0 may hold most of a bound, and each of them is then evaluated."""
    edges = [round(steps * (e / n) ** 2) for e in range(n + 1)]
    return [min(max(edge, e), steps - n + e) for e, edge in enumerate(edges)]


def step_term(run: Diffusion, x0: State, s: Time, t: Time) -> Float[Tensor, " batch"]:
    """(B,) KL(q(x_s | x_t, x_0) || reverse(x_t, run(x_t, t))) at one draw of x_t."""
    kernel, layout = run.kernel, run.layout
    x_t = kernel.noisy(x0, t, layout, run.noise)
    p = kernel.reverse(x_t, run(x_t, t), t, s, layout)
    return kernel.reverse(x_t, Dirac(x0, layout), t, s, layout).kl(p)


def last_term(
    kernel: TransitionKernel,
    law: Distribution,
    x0: State,
    x_t: State,
    steps: int,
    layout: Layout,
    data: Reading | None = None,
) -> Float[Tensor, " batch"]:
    """(B,) -log p(x_0 | x_t), t = 1 / steps, for the prediction `law`; see `bound` for `data`."""
    t = 1 / steps
    if data is not None and isinstance(kernel, GaussianKernel):
        if isinstance(law, Dirac) and data.rounding and steps > 1:
            std = kernel.reverse(x_t, law, 2 / steps, t, layout).std
            law = Gaussian(tensor(law.value), std, kernel.space, layout)
        return -data.log_prob(kernel.reconstruction(x_t, law, t, layout), x0, layout)
    return -kernel.reconstruction(x_t, law, t, layout).log_prob(x0)


def _last_step(
    run: Diffusion, x0: State, steps: int, data: Reading | None
) -> Float[Tensor, " batch"]:
    """(B,) the last term at one draw of x_t."""
    t = 1 / steps
    x_t = run.kernel.noisy(x0, t, run.layout, run.noise)
    return last_term(run.kernel, run(x_t, t), x0, x_t, steps, run.layout, data)
