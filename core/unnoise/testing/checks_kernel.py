"""What a `TransitionKernel` is checked for: the laws that follow from its four lines.

q(x_s | x_0) q(x_t | x_s) = q(x_t | x_0) q(x_s | x_t, x_0) ties marginal, transition and reverse
together, as densities at drawn states: with it the posterior is right to rounding, whatever the
family of distributions. Statistical checks compare draws of two ways to the same law.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch

from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian
from unnoise.errors import InputError
from unnoise.spaces import State, tensor
from unnoise.testing.checks_bound import bound_of_the_likelihood
from unnoise.testing.checks_law import (
    arguments_are_left_alone,
    divergence,
    laws_describe_their_draws,
    noise_belongs_to_the_sample,
    noise_source_is_used,
    samples_match_log_prob,
    states_keep_their_type,
)
from unnoise.testing.checks_layout import padding_is_ignored, ragged_batches
from unnoise.testing.checks_process import (
    bridges_keep_the_marginals,
    paths_follow_the_marginals,
    short_cut_is_the_marginal,
)
from unnoise.testing.examples import copies
from unnoise.testing.kernel_case import (
    KernelCase,
    averaged,
    averaged_gaussian,
    distance,
    gaussian_error,
    mixed_draws,
    moments,
    posterior_error,
    pushed,
    reverse_of_spread,
    table_error,
)
from unnoise.testing.report import CheckFailed, require, within
from unnoise.testing.statistics import DRAWS, same_law

_NATS: Final = 1e-4
"""How much log densities may differ. float64 closed forms reach 1e-9; quadratures do not."""
_ENDS: Final = 0.02
"""Nats per degree of freedom by which x_1 may still tell the data, for data of order 1."""


def chapman_kolmogorov(case: KernelCase) -> str:
    """Marginal, then transition, is marginal. Exact for categories and Gaussians."""
    said = []
    for s, t in case.pairs:
        first = case.kernel.marginal(case.x0, s, case.layout)
        direct = case.kernel.marginal(case.x0, t, case.layout)
        if isinstance(first, Categorical) and isinstance(direct, Categorical):
            said.append(table_error(pushed(case, first, s, t), direct, f"s = {s:g}, t = {t:g}"))
        elif isinstance(first, Gaussian) and isinstance(direct, Gaussian):
            said.append(gaussian_error(case, first, direct, s, t))
    if not said:
        s, t = case.pairs[0]
        (x0, layout), noise = case.many(), case.noise(3, DRAWS)
        middle = case.kernel.marginal(x0, s, layout).sample(noise)
        two = case.kernel.transition(middle, s, t, layout).sample(noise)
        one = case.kernel.marginal(x0, t, layout).sample(noise)
        said.append(same_law(two, one, f"x_t by way of s = {s:g}, t = {t:g}"))
    return said[-1]


def bayes(case: KernelCase) -> str:
    """`reverse` against a Dirac is the posterior, as log densities at drawn states, and for
    categories at every state."""
    worst = 0.0
    for s, t in case.pairs:
        x0, layout, kernel = case.x0, case.layout, case.kernel
        before = kernel.marginal(x0, s, layout)
        x_s = before.sample(case.noise(1))
        after = kernel.transition(x_s, s, t, layout)
        x_t = after.sample(case.noise(2))
        posterior = kernel.reverse(x_t, Dirac(x0, layout), t, s, layout)
        evidence = kernel.marginal(x0, t, layout).log_prob(x_t)
        exact = before.log_prob(x_s) + after.log_prob(x_t) - evidence
        own = posterior.log_prob(x_s)
        difference = (own - exact).abs() / (1 + 1e-3 * exact.abs())
        require(
            bool(torch.isfinite(difference).all()),
            f"s = {s:g}, t = {t:g}: the posterior's log density is {own.tolist()}, not "
            f"{exact.tolist()}",
        )
        worst = max(worst, float(difference.max()))
        if isinstance(posterior, Categorical):
            worst = max(worst, posterior_error(case, posterior, x_t, s, t))
    return within(worst, _NATS, "log density of the posterior: difference in nats")


def mixture_rule(case: KernelCase) -> str:
    """`reverse` against a spread law of x_0 is the average of the posteriors of its draws."""
    said = ""
    for s, t in case.pairs[:2]:
        spread = case.kernel.marginal(case.x0, case.pairs[-1][0], case.layout)
        x_t = case.kernel.marginal(case.x0, t, case.layout).sample(case.noise(1))
        mixed = reverse_of_spread(case, x_t, spread, t, s, case.layout)
        if isinstance(mixed, Categorical) and isinstance(spread, Categorical):
            average = averaged(case, spread, tensor(x_t), t, s)
            said = table_error(average, mixed, f"s = {s:g}, t = {t:g}")
        elif isinstance(mixed, Gaussian) and isinstance(spread, Gaussian):
            posterior = partial(_posterior, case, x_t, t, s)
            said = averaged_gaussian(case, spread, mixed, posterior, f"s = {s:g}, t = {t:g}")
        else:
            said = mixed_draws(case, t, s)
    return said


def _posterior(case: KernelCase, x_t: State, t: float, s: float, x0: State) -> Distribution:
    return case.kernel.reverse(x_t, Dirac(x0, case.layout), t, s, case.layout)


def time_zero_is_the_data(case: KernelCase) -> str:
    """q(x_0 | x_0) is x_0 itself, and so is the step back to 0 for a known x_0."""
    x0, layout = case.x0, case.layout
    start = case.kernel.marginal(x0, 0.0, layout).sample(case.noise())
    t = case.pairs[0][1]
    x_t = case.kernel.marginal(x0, t, layout).sample(case.noise(1))
    end = case.kernel.reverse(x_t, Dirac(x0, layout), t, 0.0, layout).sample(case.noise(2))
    error = max(distance(x0, start), distance(x0, end))
    return within(error, 1e-6, "distance of x_0 to the data")


def time_one_is_the_prior(case: KernelCase) -> str:
    """KL(q(x_1 | x_0) || prior) per degree of freedom is small for data of order 1."""
    end = case.kernel.marginal(case.x0, 1.0, case.layout)
    divergence = end.kl(case.kernel.prior(case.layout))
    dim = case.kernel.space.dim(case.layout).clamp(min=1)
    return within(float((divergence / dim).max()), _ENDS, "KL(q(x_1 | x_0) || prior) per dimension")


def samples_are_of_the_space(case: KernelCase) -> str | None:
    """Draws of marginal, transition, reverse and prior are states of the kernel's space."""
    layout, validate = case.layout, case.kernel.space.validate
    validate(case.kernel.prior(layout).sample(case.noise()), layout)
    for s, t in case.pairs:
        x_s = case.kernel.marginal(case.x0, s, layout).sample(case.noise(1))
        validate(x_s, layout)
        x_t = case.kernel.transition(x_s, s, t, layout).sample(case.noise(2))
        validate(x_t, layout)
        law = case.kernel.reverse(x_t, Dirac(case.x0, layout), t, s, layout)
        validate(law.sample(case.noise(3)), layout)
    return None


def samples_match_their_moments(case: KernelCase) -> str:
    """Draws have the mean and the standard deviation, or the frequencies, that the law says."""
    (x0, layout), noise = case.many(), case.noise(3, DRAWS)
    said = ""
    for s, t in case.pairs[:2]:
        law = case.kernel.marginal(x0, t, layout)
        x_t = law.sample(noise)
        said = moments(law, x_t, layout, f"marginal at {t:g}")
        once = copies(x_t, layout, DRAWS)[0]
        back = case.kernel.reverse(once, Dirac(x0, layout), t, s, layout)
        moments(back, back.sample(noise), layout, f"reverse to {s:g}")
    prior = case.kernel.prior(layout)
    moments(prior, prior.sample(noise), layout, "prior")
    return said


def times_per_sample(case: KernelCase) -> str:
    """A tensor of times gives each sample what the float of its own time gives."""
    layout, x0 = case.layout, case.x0
    pairs = [case.pairs[k % len(case.pairs)] for k in range(layout.batch)]
    s, t = (torch.tensor([pair[i] for pair in pairs], dtype=torch.float64) for i in (0, 1))
    x_t = case.kernel.marginal(x0, t, layout).sample(case.noise(1))
    x_s = case.kernel.reverse(x_t, Dirac(x0, layout), t, s, layout).sample(case.noise(2))
    together = [
        case.kernel.marginal(x0, t, layout).log_prob(x_t),
        case.kernel.transition(x_s, s, t, layout).log_prob(x_t),
        case.kernel.reverse(x_t, Dirac(x0, layout), t, s, layout).log_prob(x_s),
    ]
    worst = 0.0
    for k, (a, b) in enumerate(pairs):
        alone = [
            case.kernel.marginal(x0, b, layout).log_prob(x_t),
            case.kernel.transition(x_s, a, b, layout).log_prob(x_t),
            case.kernel.reverse(x_t, Dirac(x0, layout), b, a, layout).log_prob(x_s),
        ]
        for many, one in zip(together, alone, strict=True):
            worst = max(worst, abs(float(many[k] - one[k])) / (1 + 1e-3 * abs(float(one[k]))))
    return within(worst, 1e-5, "log densities: difference in nats")


def wrong_times_are_refused(case: KernelCase) -> str | None:
    """Times outside [0, 1] and s >= t are an InputError."""
    x0, layout, kernel = case.x0, case.layout, case.kernel
    s, t = case.pairs[0]
    wrong: list[tuple[str, Callable[[], object]]] = [
        ("marginal at t = 1.5", lambda: kernel.marginal(x0, 1.5, layout)),
        ("marginal at t = -0.5", lambda: kernel.marginal(x0, -0.5, layout)),
        ("a transition from t to s < t", lambda: kernel.transition(x0, t, s, layout)),
        ("reverse from s to t > s", lambda: kernel.reverse(x0, Dirac(x0, layout), s, t, layout)),
    ]
    for what, call in wrong:
        try:
            call()
        except InputError:
            continue
        raise CheckFailed(f"{what} is no InputError")
    return None


CHECKS: Final[tuple[Callable[[KernelCase], str | None], ...]] = (
    chapman_kolmogorov,
    bayes,
    mixture_rule,
    time_zero_is_the_data,
    time_one_is_the_prior,
    samples_are_of_the_space,
    samples_match_their_moments,
    samples_match_log_prob,
    laws_describe_their_draws,
    divergence,
    bound_of_the_likelihood,
    bridges_keep_the_marginals,
    paths_follow_the_marginals,
    short_cut_is_the_marginal,
    noise_source_is_used,
    noise_belongs_to_the_sample,
    states_keep_their_type,
    arguments_are_left_alone,
    times_per_sample,
    padding_is_ignored,
    ragged_batches,
    wrong_times_are_refused,
)
