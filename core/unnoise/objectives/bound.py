"""The variational bound, for every kernel, from its four lines.

    -log p(x_0) <= KL(q(x_1 | x_0) || prior)
                   + sum_i E KL(q(x_s | x_t, x_0) || p(x_s | x_t))    (neighbours s < t, s > 0)
                   + E -log p(x_0 | x_t)                              (the last step)

with p(x_s | x_t) = reverse(x_t, denoiser(x_t)). The parts of a product are independent given x_t on
both sides, so that every term is a sum over parts: each part has a bound of its own, of how many
nats it takes given what the process tells of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeAlias, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.distributions import Dirac, Distribution, Gaussian, Product
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import GaussianKernel, ProductKernel, TransitionKernel
from unnoise.objectives.data_types import (
    Categories,
    Continuous,
    Reading,
    data_of_parts,
)
from unnoise.samplers import Diffusion
from unnoise.spaces import Layout, State, Time, Tokens, parts, tensor

Terms: TypeAlias = dict[str, Tensor]
"""(B,) numbers of the parts of a product; of another state one, under ""."""

_LAST_DRAWS = 4  # of the last step, whose error is not seen otherwise


@final
@dataclass(frozen=True, eq=False)
class Bound:
    """-log p(x_0) <= prior + steps + reconstruction, each (B,), nats.

    `standard_error` is that of the estimate of `steps` and `reconstruction` from finitely many
    noisy states: from the differences between neighbouring times, which slightly overstates it,
    and between draws of the last step. Infinite where there is one draw only. `evaluations` are
    those of a network.

    `levels` are what `steps` is the sum of: row k the steps with t between `times[k]` and
    `times[k + 1]`. None for a bound that is estimated otherwise, that of infinitely many steps.
    """

    prior: Float[Tensor, " batch"]
    steps: Float[Tensor, " batch"]
    reconstruction: Float[Tensor, " batch"]
    standard_error: Float[Tensor, " batch"]
    evaluations: int
    measure: str = "density"
    parts: Mapping[str, Bound] = field(default_factory=dict)
    levels: Float64[Tensor, "levels batch"] | None = None
    times: tuple[float, ...] = ()

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
    data: Reading | Mapping[str, Reading] | None = None,
) -> Bound:
    """Estimate the variational bound of the ancestral chain with `steps` equal steps.

    Parameters
    ----------
    steps : length of the chain; for a discrete kernel a divisor of T.
    evaluations : times at which the middle sum is evaluated, one draw of x_t each, stratified over
        the chain, finer towards t = 0; all of them by default.
    data : what x_0 is: `Continuous` by default, `Categories` of tokens. Of a product
        `ProductData` or a mapping, or one type that stands for all real parts. With `Quantised`
        the last step gives probabilities of levels (the discretised decoder). A denoiser that
        returns a point then gets the variance of the posterior one step before the last, the
        first entry of DDPM's fixed-large variances.

    Raises
    ------
    InputError : `steps` is no chain of the kernel, or x_0 is not such data.
    ConfigError : the data type has other parts than the kernel.
    """
    kernel, layout = run.kernel, run.layout
    if steps < 1 or (kernel.steps is not None and kernel.steps % steps):
        limit = ">= 1" if kernel.steps is None else f"a divisor of {kernel.steps}"
        raise InputError("the bound needs a chain of the kernel", value=steps, limit=limit)
    types = _types(kernel, data)
    if data is not None:
        _check(kernel, types, x0, layout)
    before = run.evaluations
    prior = divergences(kernel.marginal(x0, 1.0, layout), kernel.prior(layout))
    draws = [_last_step(run, x0, steps, types) for _ in range(_LAST_DRAWS if steps > 1 else 1)]
    middle = steps - 1
    n = min(evaluations or middle, middle)
    edges, rows = _strata(middle, n) if n else [0], []
    for low, high in pairwise(edges):
        u: float | Tensor = 0.5
        if n < middle:
            u = run.noise.uniform(Layout.dense(layout.batch, device=layout.device))
        i = low + (high - low) * u // 1 + 1  # s = i / steps, i = 1 .. steps - 1
        rows.append(_step_terms(run, x0, i / steps, (i + 1) / steps))
    spent = run.evaluations - before
    whole = _estimate(
        summed(prior),
        [summed(draw) for draw in draws],
        [summed(row) for row in rows],
        edges,
        steps,
        spent,
        " and ".join(sorted({kind.measure for kind in types.values()})),
    )
    if not isinstance(kernel, ProductKernel):
        return whole
    parts = {
        name: _estimate(
            prior[name],
            [draw[name] for draw in draws],
            [row[name] for row in rows],
            edges,
            steps,
            spent,
            kind.measure,
        )
        for name, kind in types.items()
    }
    return replace(whole, parts=parts)


def _estimate(
    prior: Tensor,
    draws: list[Tensor],
    rows: list[Tensor],
    edges: list[int],
    steps: int,
    spent: int,
    measure: str,
) -> Bound:
    """A bound from draws of its last step and of the steps between the `edges`, of `steps`."""
    table, last = torch.stack(draws).double(), len(draws)
    reconstruction, error = table.mean(0), table.var(0, correction=min(1, last - 1)) / last
    n = len(rows)
    if n == 0:
        unknown, none = torch.full_like(error, torch.inf), torch.zeros_like(error)
        levels = none[None, :][:0]
        return Bound(prior, none, reconstruction, unknown, spent, measure, levels=levels)
    table = torch.stack(rows).double()
    width = torch.tensor(edges, dtype=torch.float64, device=table.device).diff()[:, None]
    if n > 1:
        differences = table.diff(dim=0) * (width[1:] + width[:-1]) / 2
        error = error + differences.square().sum(0) / 2 * n / (n - 1)
    else:
        error = torch.full_like(error, torch.inf)
    levels, times = width * table, tuple((edge + 1) / steps for edge in edges)
    return Bound(
        prior,
        levels.sum(0),
        reconstruction,
        error.sqrt(),
        spent,
        measure,
        levels=levels,
        times=times,
    )


def _strata(steps: int, n: int) -> list[int]:
    """n + 1 edges that cut 0 .. `steps` into n parts which grow linearly, from 1 step each: the
    first steps above t = 0 may hold most of a bound, and each of them is then evaluated."""
    edges = [round(steps * (e / n) ** 2) for e in range(n + 1)]
    return [min(max(edge, e), steps - n + e) for e, edge in enumerate(edges)]


def step_term(run: Diffusion, x0: State, s: Time, t: Time) -> Float[Tensor, " batch"]:
    """(B,) KL(q(x_s | x_t, x_0) || reverse(x_t, run(x_t, t))) at one draw of x_t."""
    return summed(_step_terms(run, x0, s, t))


def _step_terms(run: Diffusion, x0: State, s: Time, t: Time) -> Terms:
    kernel, layout = run.kernel, run.layout
    x_t = kernel.noisy(x0, t, layout, run.noise)
    p = kernel.reverse(x_t, run(x_t, t), t, s, layout)
    return divergences(kernel.reverse(x_t, Dirac(x0, layout), t, s, layout), p)


def divergences(q: Distribution, p: Distribution) -> Terms:
    """KL(q || p) of each part of products; of other laws the one number, under ""."""
    if isinstance(q, Product) and isinstance(p, Product):
        return {name: part.kl(p.parts[name]) for name, part in q.parts.items()}
    return {"": q.kl(p)}


def summed(terms: Terms) -> Tensor:
    """(B,) the sum over parts."""
    if len(terms) == 1:
        return next(iter(terms.values()))
    return torch.stack([value.double() for value in terms.values()]).sum(0)


def last_term(
    kernel: TransitionKernel,
    law: Distribution,
    x0: State,
    x_t: State,
    steps: int,
    layout: Layout,
    data: Reading | Mapping[str, Reading] | None = None,
) -> Float[Tensor, " batch"]:
    """(B,) -log p(x_0 | x_t), t = 1 / steps, for the prediction `law`; see `bound` for `data`."""
    return summed(_last_terms(kernel, law, x0, x_t, steps, layout, _types(kernel, data)))


def _last_terms(
    kernel: TransitionKernel,
    law: Distribution,
    x0: State,
    x_t: State,
    steps: int,
    layout: Layout,
    types: Mapping[str, Reading],
) -> Terms:
    if isinstance(kernel, ProductKernel):
        clean, noisy, laws = parts(x0, types), parts(x_t, types), kernel.laws(law, layout)
        return {
            n: _last(k, laws[n], clean[n], noisy[n], steps, layout[n], types[n])
            for n, k in kernel.parts.items()
        }
    return {"": _last(kernel, law, x0, x_t, steps, layout, types[""])}


def _last(
    kernel: TransitionKernel,
    law: Distribution,
    x0: State,
    x_t: State,
    steps: int,
    layout: Layout,
    data: Reading,
) -> Tensor:
    t = 1 / steps
    if not isinstance(kernel, GaussianKernel):
        return -kernel.reconstruction(x_t, law, t, layout).log_prob(x0)
    if isinstance(law, Dirac) and data.rounding and steps > 1:
        std = kernel.reverse(x_t, law, 2 / steps, t, layout).std
        law = Gaussian(tensor(law.value), std, kernel.space, layout)
    return -data.log_prob(kernel.reconstruction(x_t, law, t, layout), x0, layout)


def _last_step(run: Diffusion, x0: State, steps: int, types: Mapping[str, Reading]) -> Terms:
    """The last term at one draw of x_t."""
    t = 1 / steps
    x_t = run.kernel.noisy(x0, t, run.layout, run.noise)
    return _last_terms(run.kernel, run(x_t, t), x0, x_t, steps, run.layout, types)


def _types(
    kernel: TransitionKernel, data: Reading | Mapping[str, Reading] | None
) -> Mapping[str, Reading]:
    """What each part of x_0 is; of other kernels than products what x_0 is, under ""."""
    data = Continuous() if data is None else data
    if isinstance(kernel, ProductKernel):
        return data_of_parts(data, kernel.space)
    if isinstance(kernel.space, Tokens):
        return {"": Categories()}
    if not isinstance(data, Reading):
        raise ConfigError("data types by part belong to a product", value=sorted(data))
    return {"": data}


def _check(
    kernel: TransitionKernel, types: Mapping[str, Reading], x0: State, layout: Layout
) -> None:
    """Refuse what a Gaussian kernel destroys and is not of its type."""
    if isinstance(kernel, ProductKernel):
        states = parts(x0, kernel.parts)
        for name, part in kernel.parts.items():
            _check(part, {"": types[name]}, states[name], layout[name])
    elif isinstance(kernel, GaussianKernel):
        types[""].check(x0, layout)
