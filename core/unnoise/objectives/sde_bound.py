"""The variational bound with a continuous clock (Song 2021, Maximum likelihood training; Kingma
2021): the limit of infinitely many steps, for every Gaussian kernel.

    -log p(x_0) <=  KL(q(x_1 | x_0) || prior)
                  + 1/2 int_eps^1 g^2 E |score - grad log q(x_t | x_0)|^2 dt
                  + E -log p(x_0 | x_eps)

with g^2 = sigma^2 gamma' and score - grad log q = (eps - eps_hat) / sigma. The usual form,

    -E log prior(x_1) + 1/2 int [g^2 (|score - grad log q|^2 - |grad log q|^2) - 2 div f] dt
    + E [-log p(x_0 | x_eps) + log q(x_eps | x_0)],

has the same value: what it adds is the entropy of q(x_eps | x_0) minus that of q(x_1 | x_0) and
back again, here taken in closed form, which leaves the estimate less noise.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.distributions import Distribution
from unnoise.errors import InputError
from unnoise.kernels import Above, GaussianKernel, Schedule
from unnoise.objectives.bound import Bound
from unnoise.objectives.data_types import Continuous, Reading
from unnoise.objectives.times import ImportanceTimes, TimeLaw, d_gamma
from unnoise.samplers import Diffusion
from unnoise.spaces import Layout, State, Time, tensor


def sde_bound(
    run: Diffusion,
    x0: State,
    *,
    times: TimeLaw | None = None,
    evaluations: int = 100,
    data: Reading | None = None,
) -> Bound:
    """Estimate the bound of the reverse SDE with the score of the run.

    Parameters
    ----------
    times : where the integral is sampled, stratified over `evaluations` draws. By default
        ImportanceTimes(), whose normaliser Z is multiplied back.
    data : what x_0 is; with `Quantised` the last term is the discretised decoder.

    Raises
    ------
    InputError : not a Gaussian kernel with a continuous clock.
    ConfigError : importance sampling of a schedule without a finite Z.
    """
    kernel, layout, noise = run.kernel, run.layout, run.noise
    if not isinstance(kernel, GaussianKernel) or kernel.steps is not None:
        raise InputError(
            "the bound of the SDE needs a Gaussian kernel with a continuous clock",
            value=type(kernel).__name__,
            fix="bound() works with every kernel",
        )
    if evaluations < 1:
        raise InputError("evaluations is at least 1", value=evaluations)
    data = data or Continuous()
    data.check(x0, layout)
    before = run.evaluations
    law = times or ImportanceTimes()
    eps = law.eps
    prior = kernel.marginal(x0, 1.0, layout).kl(kernel.prior(layout))
    terms = []
    for t in drawn_times(law, kernel.schedule, evaluations, run):
        rate = d_gamma(kernel.schedule, t) / law.density(kernel.schedule, t)
        squares = noise_error(run, x0, t)
        terms.append(0.5 * rate * squares)
    table = torch.stack(terms)
    x_eps = kernel.marginal(x0, eps, layout).sample(noise)
    p0 = kernel.reconstruction(x_eps, run(x_eps, eps), eps, layout)
    reconstruction = -data.log_prob(p0, x0, layout)
    spent = run.evaluations - before
    return Bound(prior, table.mean(0), reconstruction, error_of(table), spent, data.measure)


def drawn_times(
    law: TimeLaw, schedule: Schedule, evaluations: int, run: Diffusion
) -> Float64[Tensor, "evaluations batch"]:
    """Times of each sample, one in each of as many parts of equal probability."""
    one = Layout.dense(run.layout.batch)
    u = torch.stack([(e + run.noise.uniform(one)) / evaluations for e in range(evaluations)])
    return law.times(schedule, u.flatten()).view(u.shape).to(run.layout.device)


def error_of(table: Float64[Tensor, "evaluations batch"]) -> Float64[Tensor, " batch"]:
    """(B,) the standard error of the mean of stratified estimates, from their differences."""
    n = len(table)
    if n == 1:
        return torch.full_like(table[0], torch.inf)
    return (table.diff(dim=0).square().sum(0) / (2 * n * (n - 1))).sqrt()


def noise_error(run: Diffusion, x0: State, t: Time) -> Tensor:
    """(B,) |eps - eps_hat|^2 = (alpha / sigma)^2 |x_0 - E[x_0 | x_t]|^2 at one draw of x_t,
    float64."""
    kernel = run.kernel
    assert isinstance(kernel, GaussianKernel)
    x_t = kernel.marginal(x0, t, run.layout).sample(run.noise)
    mean = tensor(run(x_t, t).mean)
    squares = run.layout.sum((tensor(x0) - mean).double() ** 2)
    snr: Tensor = torch.as_tensor(kernel.schedule.alpha(t) / kernel.schedule.sigma(t)) ** 2
    return snr * squares


def whole_noise_error(
    run: Diffusion, mu: Float[Tensor, "rows ..."], t: Time
) -> Float64[Tensor, " batch"]:
    """(B,) |eps - eps_hat|^2 at one draw of z_t = alpha_t mu + sigma_t eps, for a run whose
    schedule is `Above` one with (alpha_t, sigma_t): eps_hat = -sigma_t score(z_t)."""
    kernel, layout = run.kernel, run.layout
    assert isinstance(kernel, GaussianKernel)
    assert isinstance(kernel.schedule, Above)
    own, whole = kernel.schedule, kernel.schedule.schedule
    eps = tensor(kernel.space.project(run.noise.normal(layout), layout))
    z_t = layout.expand(whole.alpha(t), mu) * mu + layout.expand(whole.sigma(t), mu) * eps
    return layout.sum((eps - whole_noise(own, run(z_t, t), z_t, t, layout)).double() ** 2)


def whole_noise(
    schedule: Above, law: Distribution, z_t: Tensor, t: Time, layout: Layout
) -> Float[Tensor, "rows ..."]:
    """-sigma_t times the score that a law of z_0 given z_t says, sigma_t the whole noise."""
    alpha, scale = schedule.alpha(t), schedule.schedule.sigma(t) / schedule.sigma(t) ** 2
    rest = z_t - layout.expand(alpha, z_t) * tensor(law.mean)
    return layout.expand(scale, z_t) * rest
