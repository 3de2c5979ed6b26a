"""Exact log-likelihood by the probability-flow ODE (Song 2021), for Gaussian kernels.

The ODE whose marginals are those of the process,

    dx/dt = v = alpha'_t x0 + sigma'_t eps,    x0 = E[x_0 | x_t],  eps = (x - alpha_t x0) / sigma_t,

carries data to the prior, and the density changes by its divergence:

    log p(x_eps) = log p_prior(x_1) + int_eps^1 div v dt,
    div v = (sigma'/sigma) d + (alpha' - alpha sigma'/sigma) div x0,

d being the degrees of freedom. Written this way nothing diverges where alpha reaches 0, and only
the divergence of the denoiser is estimated: the rest is exact.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import ConfigError, InputError
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.objectives.data_types import Reading
from unnoise.objectives.times import time_of_gamma
from unnoise.samplers import Diffusion
from unnoise.spaces import DataSpace, Layout, State, tensor
from unnoise.spaces.ode import Point, integrate

_SMALL = 16  # degrees of freedom up to which the exact trace is the default
_LARGE = 1024  # beyond which it is refused


class Trace(ABC):
    """How the trace of a Jacobian J is found: as sum_k v_k^T J v_k over vectors of the space."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What a result says about it."""

    @abstractmethod
    def vectors(self, space: DataSpace, layout: Layout, noise: NoiseSource) -> list[Tensor]:
        """The vectors v_k, each of the layout's shape. Drawn once for a whole solve: the field
        that is integrated must not change between two evaluations."""


@final
@dataclass(frozen=True)
class Hutchinson(Trace):
    """Unbiased: the mean over `probes` Rademacher vectors, projected onto the space."""

    probes: int = 1

    def __post_init__(self) -> None:
        if self.probes < 1:
            raise ConfigError("at least one probe", value=self.probes, limit=">= 1")

    @property
    def name(self) -> str:
        return f"Hutchinson, {self.probes} Rademacher probe(s) fixed for the solve"

    def vectors(self, space: DataSpace, layout: Layout, noise: NoiseSource) -> list[Tensor]:
        found = []
        for _ in range(self.probes):
            signs = torch.where(noise.uniform(layout) < 0.5, -1.0, 1.0).to(layout.dtype)
            found.append(tensor(space.project(signs, layout)) * self.probes**-0.5)
        return found


@final
@dataclass(frozen=True)
class ExactTrace(Trace):
    """The unit vectors, projected onto the space: as many backward passes as a sample has
    entries."""

    @property
    def name(self) -> str:
        return "exact trace"

    def vectors(self, space: DataSpace, layout: Layout, noise: NoiseSource) -> list[Tensor]:
        most = int(layout.sizes.max())
        if most > _LARGE:
            raise InputError(
                "the exact trace is for small samples",
                value=most,
                limit=f"{_LARGE} entries",
                fix="use Hutchinson()",
            )
        # number[i] = the place of an entry in its own sample, padding excluded
        real = tensor(layout.zero_padding(torch.ones(layout.shape, device=layout.device)))
        order = real.reshape(len(real), -1).double()
        number = order.reshape(-1).cumsum(0).view(order.shape) - order
        per_sample = layout.sizes.cumsum(0) - layout.sizes
        number = (number - layout.expand(per_sample.double(), order)).view(layout.shape)
        found = []
        for k in range(most):
            unit = ((number == k) & (real > 0)).to(layout.dtype)
            found.append(tensor(space.project(unit, layout)))
        return found


@final
@dataclass(frozen=True, eq=False)
class Likelihood:
    """log p(x) and how it came about; each tensor is (B,), nats.

    Attributes
    ----------
    nats : log likelihood = prior + divergence + change.
    prior : log density of the end point under the prior.
    divergence : the integral of div v.
    change : the change of variables that was asked for.
    latent : the end point, the code of x.
    estimator : of the divergence.
    eps : the time at which the data were put in: it is p_eps, data with the noise sigma_eps.
    tolerance : of the integrator, absolute and relative, in each step of each sample.
    evaluations : of a network.
    """

    nats: Float[Tensor, " batch"]
    prior: Float[Tensor, " batch"]
    divergence: Float[Tensor, " batch"]
    change: Float[Tensor, " batch"]
    latent: Tensor
    estimator: str
    eps: float
    tolerance: float
    evaluations: int


def log_likelihood(
    run: Diffusion,
    x: State,
    *,
    change: float | Float[Tensor, " batch"] = 0.0,
    trace: Trace | None = None,
    eps: float | None = None,
    tolerance: float = 1e-5,
) -> Likelihood:
    """log p(x) of the deterministic model that the run defines, by Dormand-Prince 5(4) with a
    step size per sample.

    Parameters
    ----------
    change : log |det dx / dy| when x is a function of what one wants the density of, y; 0 is the
        density of x itself. See `DataType.change`.
    trace : Hutchinson() or ExactTrace(); by default the latter up to 16 degrees of freedom.
    eps : where the integration starts; by default 1e-5, or the first step of a discrete kernel.
    tolerance : absolute and relative.

    Raises
    ------
    InputError : not a Gaussian kernel, or data that are not in its space.
    NonFiniteError, LimitExceeded : the ODE cannot be solved.
    """
    kernel, layout = _gaussian(run.kernel), run.layout
    schedule, space = kernel.schedule, kernel.space
    space.validate(x, layout)
    begin = (1e-5 if kernel.steps is None else 1 / kernel.steps) if eps is None else eps
    if not 0 < begin < 1:
        raise InputError("the integration starts at a small time", value=eps, limit="0 < eps < 1")
    dim = space.dim(layout).double()
    if trace is None:
        trace = ExactTrace() if int(dim.max()) <= _SMALL else Hutchinson()
    vectors = trace.vectors(space, layout, run.noise)
    before = run.evaluations

    def field(state: Tensor, t: Tensor) -> Point:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        rate = schedule.d_sigma(t) / sigma
        gain = schedule.d_alpha(t) - alpha * rate
        mean, divergence = _mean_and_trace(run, state, t, vectors)
        velocity = layout.expand(rate, state) * state + layout.expand(gain, state) * mean
        return Point(velocity, rate * dim + gain * divergence)

    with torch.no_grad():
        end, _, _ = integrate(field, tensor(x), begin, 1.0, layout, rtol=tolerance, atol=tolerance)
        prior = kernel.prior(replace(layout, dtype=torch.float64)).log_prob(end.x)
    shift = torch.as_tensor(change, dtype=torch.float64, device=layout.device).expand(layout.batch)
    return Likelihood(
        nats=prior + end.value + shift,
        prior=prior,
        divergence=end.value,
        change=shift,
        latent=end.x,
        estimator=trace.name,
        eps=begin,
        tolerance=tolerance,
        evaluations=run.evaluations - before,
    )


def level_likelihood(
    run: Diffusion,
    x0: State,
    *,
    data: Reading,
    trace: Trace | None = None,
    eps: float | None = None,
    tolerance: float = 1e-5,
) -> Likelihood:
    """A lower bound of log P(x_0) for a model that was trained on the levels themselves.

    Such a model knows nothing of values between levels, so its density at uniformly dequantised
    data means nothing. The process's own noise dequantises instead:

        log P(x_0) >= E log p_eps(x_eps) + log P(x_0 | x_eps) - log q(x_eps | x_0),

    the first by `log_likelihood`, the second the discretised decoder; one draw of x_eps. `change`
    holds the last two. Parameters as there, except

    data : of levels, such as `Quantised`.
    eps : by default the time at which sigma / alpha is the standard deviation of the uniform noise
        of one step, or the first step of a discrete kernel if that is later.
    """
    kernel, layout = _gaussian(run.kernel), run.layout
    kernel.space.validate(x0, layout)
    if not data.rounding:
        raise InputError(
            "only levels have probabilities: these are real numbers",
            value=type(data).__name__,
            fix="use log_likelihood()",
        )
    data.check(x0, layout)
    if eps is None:
        value = torch.tensor([2 * math.log(data.rounding / 12**0.5)], dtype=torch.float64)
        eps = time_of_gamma(kernel.schedule, value).item()
        if kernel.steps is not None:
            eps = math.ceil(eps * kernel.steps) / kernel.steps
    before = run.evaluations
    q = kernel.marginal(x0, eps, layout)
    x = q.sample(run.noise)
    with torch.no_grad():
        law = run(x, eps)
        decoder = kernel.reconstruction(x, law, eps, layout)
        change = data.log_prob(decoder, x0, layout) - q.log_prob(x)
    found = log_likelihood(
        run,
        x,
        change=change.double(),
        trace=trace,
        eps=eps,
        tolerance=tolerance,
    )
    said = f"{found.estimator}; levels through one draw of x_eps"
    return replace(found, estimator=said, evaluations=run.evaluations - before)


def _mean_and_trace(
    run: Diffusion, state: Tensor, t: Tensor, vectors: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """E[x_0 | x_t] in the space, and sum_k v_k^T (its Jacobian) v_k: float64."""
    layout = run.layout
    with torch.enable_grad():
        x = state.to(layout.dtype).detach().requires_grad_()
        law = run(x, t)
        mean = tensor(run.kernel.space.project(law.mean, layout))
        total = torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)
        for k, v in enumerate(vectors if mean.requires_grad else ()):
            more = k + 1 < len(vectors)
            (product,) = torch.autograd.grad(mean, x, v, retain_graph=more, materialize_grads=True)
            total = total + layout.sum(product.double() * v)
    return mean.detach().double(), total


def _gaussian(kernel: TransitionKernel) -> GaussianKernel:
    if not isinstance(kernel, GaussianKernel):
        raise InputError(
            "the likelihood by ODE needs a Gaussian kernel",
            value=type(kernel).__name__,
            fix="bound() works with every kernel",
        )
    return kernel
