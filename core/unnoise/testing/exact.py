"""Expectations over all states of a small categorical process, instead of over draws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unnoise.denoise import Denoiser
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import CategoricalKernel, TransitionKernel
from unnoise.objectives import Bound
from unnoise.spaces import Layout

Value = Callable[[Tensor, Tensor, Layout], Tensor]
"""(x_0 (N, L), x_t (N, L), layout) -> (N,)."""


def all_states(vocab: int, length: int) -> Int[Tensor, "states length"]:
    """Every sequence of `length` tokens, in lexicographic order: (vocab ** length, length)."""
    return torch.cartesian_prod(*[torch.arange(vocab)] * length).view(-1, length)


def expectation(
    kernel: TransitionKernel, pmf: Float[Tensor, "..."], t: float, value: Value
) -> Float[Tensor, ""]:
    """E value(x_0, x_t) over x_0 ~ pmf (k,) * L and x_t ~ q(x_t | x_0), by enumeration.

    There are at most k^L vocab^L pairs; those of probability 0 are left out.
    """
    if not isinstance(kernel, CategoricalKernel):
        raise ConfigError("only categorical states can be enumerated", value=type(kernel).__name__)
    length = pmf.ndim
    clean, noisy = all_states(pmf.shape[0], length), all_states(kernel.space.vocab, length)
    x0 = clean.repeat_interleave(len(noisy), 0)
    x_t = noisy.repeat(len(clean), 1)
    p = pmf.double().flatten().repeat_interleave(len(noisy))
    p = p * kernel.marginal(x0, t, _layout(x0)).log_prob(x_t).exp()
    x0, x_t, p = x0[p > 0], x_t[p > 0], p[p > 0]
    return (p * value(x0, x_t, _layout(x0)).double()).sum()


def exact_bound(denoiser: Denoiser, pmf: Float[Tensor, "..."], steps: int) -> Bound:
    """E of `unnoise.objectives.bound` over x_0 ~ pmf and over all noise, nats: a batch of one.

    The chain has `steps` equal steps. Never below the entropy of the pmf; with the exact law of
    x_0, one token and the exact posterior it is entropy + KL(q(x_1) || prior).
    """
    kernel = denoiser.kernel
    if steps < 1 or (kernel.steps is not None and kernel.steps % steps):
        raise InputError("the bound needs a chain of the kernel", value=steps, limit=kernel.steps)
    first = 1 / steps

    def prior(x0: Tensor, x_t: Tensor, layout: Layout) -> Tensor:
        return kernel.marginal(x0, 1.0, layout).kl(kernel.prior(layout))

    def reconstruction(x0: Tensor, x_t: Tensor, layout: Layout) -> Tensor:
        law = denoiser(x_t, first, layout)
        return -kernel.reconstruction(x_t, law, first, layout).log_prob(x0)

    def step(s: float, t: float) -> Value:
        def value(x0: Tensor, x_t: Tensor, layout: Layout) -> Tensor:
            p = kernel.reverse(x_t, denoiser(x_t, t, layout), t, s, layout)
            return kernel.reverse(x_t, Dirac(x0, layout), t, s, layout).kl(p)

        return value

    terms = [
        expectation(kernel, pmf, (i + 1) / steps, step(i / steps, (i + 1) / steps))
        for i in range(1, steps)
    ]
    zero = torch.zeros(1, dtype=torch.float64)
    return Bound(
        prior=expectation(kernel, pmf, 1.0, prior).view(1),
        steps=sum(terms, zero),
        reconstruction=expectation(kernel, pmf, first, reconstruction).view(1),
        standard_error=zero,
        evaluations=steps,
        measure="probability",
    )


def _layout(x: Tensor) -> Layout:
    return Layout.dense(x.shape[0], x.shape[1:], dtype=torch.int64)
