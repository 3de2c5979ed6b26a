"""The variational bound, for every kernel, from its four lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Dirac
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, Time


@final
@dataclass(frozen=True, eq=False)
class Bound:
    """-log p(x_0) <= prior + steps + reconstruction, each (B,), nats.

    `standard_error` is that of the estimate of `steps` and `reconstruction` from finitely many
    noisy states, by the differences between neighbouring times.
    """

    prior: Tensor
    steps: Tensor
    reconstruction: Tensor
    standard_error: Tensor
    evaluations: int

    @property
    def total(self) -> Tensor:
        """(B,) the bound."""
        return self.prior + self.steps + self.reconstruction


def bound(
    denoiser: Denoiser,
    x0: State,
    layout: Layout,
    noise: NoiseSource,
    condition: Condition = None,
    *,
    steps: int = 1000,
    evaluations: int | None = None,
) -> Bound:
    """Estimate the variational bound of the ancestral chain with `steps` equal steps.

        KL(q(x_1 | x_0) || prior)
        + sum_i E KL(q(x_s | x_t, x_0) || reverse(x_t, denoiser(x_t)))       (s, t neighbours, s > 0)
        + E -log p(x_0 | x_t)                                                (the last step)

    Parameters
    ----------
    steps : length of the chain; for a discrete kernel a divisor of T.
    evaluations : times at which the middle sum is evaluated, one draw of x_t each, stratified over
        the chain; all of them by default.
    """
    kernel = denoiser.kernel
    if steps < 1 or (kernel.steps is not None and kernel.steps % steps):
        limit = ">= 1" if kernel.steps is None else f"a divisor of {kernel.steps}"
        raise InputError("the bound needs a chain of the kernel", value=steps, limit=limit)
    prior = kernel.marginal(x0, 1.0, layout).kl(kernel.prior(layout))
    first = 1 / steps
    x_t = kernel.marginal(x0, first, layout).sample(noise)
    law = denoiser(x_t, first, layout, condition)
    reconstruction = -kernel.reconstruction(x_t, law, first, layout).log_prob(x0)
    middle = steps - 1
    if middle == 0:
        zero = torch.zeros_like(reconstruction)
        return Bound(prior, zero, reconstruction, zero, 1)
    n = min(evaluations or middle, middle)
    terms = []
    for e in range(n):
        u = noise.uniform(Layout.dense(layout.batch)) if n < middle else 0.5
        i = (e + u) / n * middle // 1 + 1  # s = i / steps, i = 1 .. steps - 1
        s, t = i / steps, (i + 1) / steps
        terms.append(middle * step_term(denoiser, x0, s, t, layout, noise, condition))
    table = torch.stack(terms).double()
    if n > 1:
        error = (table.diff(dim=0).square().sum(0) / (2 * n * (n - 1))).sqrt()
    else:
        error = torch.full_like(table[0], torch.inf)
    return Bound(prior, table.mean(0), reconstruction, error, n + 1)


def step_term(
    denoiser: Denoiser,
    x0: State,
    s: Time,
    t: Time,
    layout: Layout,
    noise: NoiseSource,
    condition: Condition = None,
) -> Tensor:
    """(B,) KL(q(x_s | x_t, x_0) || reverse(x_t, denoiser(x_t))) at one draw of x_t."""
    kernel = denoiser.kernel
    x_t = kernel.marginal(x0, t, layout).sample(noise)
    p = kernel.reverse(x_t, denoiser(x_t, t, layout, condition), t, s, layout)
    return kernel.reverse(x_t, Dirac(x0, layout), t, s, layout).kl(p)
