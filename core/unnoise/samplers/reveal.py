"""What samplers of the absorbing kernel share: hidden tokens, and the laws of those that appear.

Only these laws are asked for: of 128 tokens that a network has rows over 4096 values for, one step
needs one row. What such a sampler yields as its prediction of x_0 is therefore what is visible.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unnoise.distributions import inverse_cdf
from unnoise.kernels import Absorbing, TransitionKernel, corruption_of
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import Layout, Time, tensor


def absorbing(kernel: TransitionKernel) -> Absorbing:
    """The corruption of a kernel that `Sampler.check` let pass."""
    corruption = corruption_of(kernel)
    assert isinstance(corruption, Absorbing)
    return corruption


def masked(run: Diffusion, x: Int64[Tensor, "*rows"]) -> Bool[Tensor, "*rows"]:
    """Where tokens are hidden that this run may show; nowhere in the padding."""
    hidden = x == absorbing(run.kernel).mask
    if run.held is not None:
        hidden = hidden & ~run.held
    return torch.as_tensor(run.layout.zero_padding(hidden))


def asked(
    run: Diffusion, x: Int64[Tensor, "*rows"], t: Time, where: Bool[Tensor, "*rows"]
) -> Float[Tensor, "some k"]:
    """log p(x_0 | x_t) of the tokens at `where`, in order, at time t of each sample. One call, for
    the samples that have one; none, and a table without rows, when there is none at all."""
    samples = counts(where, run.layout).nonzero().flatten()
    if len(samples) == 0:
        return torch.zeros(0, 1, device=x.device)
    if len(samples) == run.layout.batch:
        return run.at(x, t, where)
    seen, there = (tensor(run.layout.pick(v, samples)) for v in (x, where))
    return run.take(samples).at(seen, t[samples] if isinstance(t, Tensor) else t, there)


def drawn(
    table: Float[Tensor, "some k"],
    x: Int64[Tensor, "*rows"],
    where: Bool[Tensor, "*rows"],
    run: Diffusion,
) -> Int64[Tensor, "*rows"]:
    """`x` with tokens drawn from `table`, a row for each token at `where`: one float64 uniform per
    token of the layout, so that noise does not depend on what is shown."""
    u = run.noise.uniform(run.layout)
    return x.masked_scatter(where, inverse_cdf(table, u[where])) if len(table) else x


def shown(
    run: Diffusion, x: Int64[Tensor, "*rows"], t: Time, where: Bool[Tensor, "*rows"]
) -> Int64[Tensor, "*rows"]:
    """`x` with tokens drawn from the law at (x, t) at `where`."""
    return drawn(asked(run, x, t, where), x, where, run)


def counts(where: Bool[Tensor, "*rows"], layout: Layout) -> Int64[Tensor, " batch"]:
    """(B,) how many entries are true in each sample."""
    return layout.sum(where.long())


def per_row(
    v: Float[Tensor, " batch"] | Int64[Tensor, " batch"], like: Tensor, layout: Layout
) -> Tensor:
    """(B,) values in a shape that broadcasts over `like`, in their own dtype."""
    return torch.as_tensor(layout.expand(v, like.to(v.dtype)))
