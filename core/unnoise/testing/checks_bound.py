"""The variational bound of a kernel, beside the exact likelihood of data whose law is known."""

from __future__ import annotations

import math
from typing import Final

import torch

from unnoise.distributions import Categorical, Dirac, Gaussian
from unnoise.errors import UnnoiseError
from unnoise.kernels import CategoricalKernel, GaussianKernel, TransitionKernel
from unnoise.objectives import bound
from unnoise.samplers import Diffusion
from unnoise.spaces import Layout
from unnoise.testing.exact import exact_bound
from unnoise.testing.examples import copies
from unnoise.testing.kernel_case import KernelCase
from unnoise.testing.oracles import GaussianOracle, PmfOracle
from unnoise.testing.report import Skip, require, within

_DRAWS: Final = 1024
_PATHS: Final = 256  # of kernels whose laws may be large mixtures
_STD: Final = 0.7  # of the Gaussian data
_ERRORS: Final = 7.0  # standard errors: 2.6e-12 for the mean of 1024 draws


def bound_of_the_likelihood(case: KernelCase) -> str:
    """The bound is not below -log p(x_0) on average. With the exact law of x_0 they differ by
    KL(q(x_1) || prior) alone, in expectation exactly: for categories by enumeration, for
    Gaussians within 7 standard errors."""
    kernel = case.kernel
    steps = _chain(kernel)
    if isinstance(kernel, CategoricalKernel):
        return _of_categories(kernel, steps)
    if isinstance(kernel, GaussianKernel):
        return _of_gaussians(case, kernel, steps)
    return _of_any(case, steps)


def _of_categories(kernel: CategoricalKernel, steps: int) -> str:
    k = kernel.space.vocab
    possible = torch.ones(k, dtype=torch.float64)
    mask = getattr(kernel.corruption, "mask", None)
    if mask is not None:
        possible[mask] = 0  # masks are no data
    pmf = torch.arange(1, k + 1, dtype=torch.float64) * possible
    pmf = pmf / pmf.sum()
    total = float(exact_bound(PmfOracle(kernel, pmf), pmf, steps).total)
    entropy = float(-(pmf[pmf > 0] * pmf[pmf > 0].log()).sum())
    layout = Layout.dense(k, (1,), dtype=torch.int64)
    last = kernel.marginal(torch.arange(k)[:, None], 1.0, layout)
    assert isinstance(last, Categorical)
    end = Categorical((pmf[:, None] * last.log_probs[:, 0].exp()).sum(0).log()[None, None])
    gap = float(end.kl(kernel.prior(Layout.dense(1, (1,), dtype=torch.int64))))
    require(total >= entropy - 1e-6, f"the bound is {total:.6g}, the entropy {entropy:.6g}")
    if kernel.posterior != "mixture":
        return f"bound {total:.4g} >= entropy {entropy:.4g} nats"
    return within(abs(total - entropy - gap), 1e-5, f"bound {total:.4g} nats, error")


def _of_gaussians(case: KernelCase, kernel: GaussianKernel, steps: int) -> str:
    _, layout = copies(case.x0, case.layout, _DRAWS)
    noise = case.noise(70, _DRAWS)
    zero = torch.zeros(layout.shape, dtype=layout.dtype)
    data = Gaussian(zero, _STD, kernel.space, layout)
    x0 = data.sample(noise)
    with torch.no_grad():
        run = Diffusion(GaussianOracle(kernel, 0.0, _STD**2), layout, noise)
        own = bound(run, x0, steps=steps).total
        alpha, sigma = float(kernel.schedule.alpha(1.0)), float(kernel.schedule.sigma(1.0))
        spread = math.hypot(alpha * _STD, sigma)
        gap = Gaussian(zero, spread, kernel.space, layout).kl(kernel.prior(layout))
    excess = own.double() + data.log_prob(x0).double() - gap.double()
    error = float(excess.std()) / math.sqrt(_DRAWS)
    limit = _ERRORS * error + 1e-6
    return within(abs(float(excess.mean())), limit, "bound against -log p: difference in nats")


def _of_any(case: KernelCase, steps: int) -> str:
    """The bound of a chain whose denoiser always answers with the law of the data, estimated along
    drawn paths by log densities alone: log q(path | x_0) - log p(x_0, path)."""
    kernel, steps = case.kernel, min(steps, 3)
    c, layout = copies(case.x0, case.layout, _PATHS)
    noise = case.noise(70, _PATHS)
    data = kernel.marginal(c, case.pairs[-1][0], layout)
    x0 = data.sample(noise)
    law, known = data, Dirac(x0, layout)
    end = kernel.marginal(x0, 1.0, layout)
    x = end.sample(noise)
    excess = data.log_prob(x0) + end.log_prob(x) - kernel.prior(layout).log_prob(x)
    try:
        for i in range(steps, 1, -1):
            t, s = i / steps, (i - 1) / steps
            posterior = kernel.reverse(x, known, t, s, layout)
            own = kernel.reverse(x, law, t, s, layout)
            x = posterior.sample(noise)
            excess = excess + posterior.log_prob(x) - own.log_prob(x)
        excess = excess - kernel.reconstruction(x, law, 1 / steps, layout).log_prob(x0)
    except UnnoiseError as problem:
        raise Skip(f"no bound with a spread law of x_0: {problem.message}") from problem
    excess = excess.detach().double()
    require(not bool(torch.isnan(excess).any()), "a log density is NaN")
    if bool((excess == math.inf).any()):
        return "the bound is infinite: the chain misses a path"
    error = float(excess.std()) / math.sqrt(_PATHS)
    below = -float(excess.mean())
    return within(below, _ERRORS * error + 1e-6, "-log p above the bound, in nats")


def _chain(kernel: TransitionKernel) -> int:
    """A number of steps, about 10, that the kernel's clock allows."""
    n = kernel.steps
    if n is None:
        return 10
    return max(k for k in range(1, min(n, 20) + 1) if n % k == 0)
