"""What samplers of the absorbing kernel share: hidden tokens, and predictions of some samples."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unnoise.distributions import Categorical, Dirac, Distribution, inverse_cdf, one_hot_log
from unnoise.errors import InputError
from unnoise.kernels import Absorbing, TransitionKernel, corruption_of
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import Layout, Time


def absorbing(kernel: TransitionKernel) -> Absorbing:
    """The corruption of a kernel that `Sampler.check` let pass."""
    corruption = corruption_of(kernel)
    assert isinstance(corruption, Absorbing)
    return corruption


def masked(corruption: Absorbing, x: Int64[Tensor, "*rows"], layout: Layout) -> Bool[Tensor, "..."]:
    """Where tokens are hidden; nowhere in the padding."""
    hidden = x == corruption.mask
    return layout.zero_padding(hidden)


def predicted(
    run: Diffusion,
    x: Int64[Tensor, "*rows"],
    t: Time,
    changed: Bool[Tensor, " batch"],
    law: Distribution,
) -> Distribution:
    """`law` with the samples that `changed` evaluated at (x, t): no call when there are none.

    `law` is a Dirac before the first evaluation.
    """
    samples = changed.nonzero().flatten()
    if len(samples) == 0:
        return law
    if len(samples) == run.layout.batch:
        return _categorical(run(x, t))
    some, rows = run.take(samples)
    new = _categorical(some(x[rows], t[samples] if isinstance(t, Tensor) else t)).log_probs
    old = law.log_probs if isinstance(law, Categorical) else None
    if old is None:
        old = one_hot_log(x, new.new_empty(1).expand(*x.shape, new.shape[-1]))
    return Categorical(old.index_copy(0, rows, new.to(old.dtype)), run.layout)


def shown(
    law: Distribution,
    x: Int64[Tensor, "*rows"],
    where: Bool[Tensor, "*rows"],
    run: Diffusion,
) -> Int64[Tensor, "*rows"]:
    """`x` with tokens drawn from `law` at `where`: one float64 uniform per token of the layout."""
    u = run.noise.uniform(run.layout)
    if isinstance(law, Dirac) or not bool(where.any()):
        return x
    tokens = inverse_cdf(_categorical(law).log_probs[where], u[where])
    return x.masked_scatter(where, tokens)


def _categorical(law: Distribution) -> Categorical:
    if not isinstance(law, Categorical):
        raise InputError(
            "this sampler needs a Categorical prediction of x_0", value=type(law).__name__
        )
    return law


def counts(where: Bool[Tensor, "*rows"], layout: Layout) -> Int64[Tensor, " batch"]:
    """(B,) how many entries are true in each sample."""
    return layout.sum(where.long())


def per_row(
    v: Float[Tensor, " batch"] | Int64[Tensor, " batch"], like: Tensor, layout: Layout
) -> Tensor:
    """(B,) values in a shape that broadcasts over `like`, in their own dtype."""
    return torch.as_tensor(layout.expand(v, like.to(v.dtype)))
