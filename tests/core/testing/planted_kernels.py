"""Kernels, spaces and schedules, each with one mistake planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian
from unnoise.kernels import (
    VE,
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    TransitionKernel,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Tokens, ZeroCoM

VP = GaussianKernel(Euclidean(), VPLinear())
TOKENS = CategoricalKernel(Tokens(4), Absorbing(3))


class Bent(TransitionKernel):
    """A kernel of which one line is another: bent(inner, *arguments of the line)."""

    def __init__(self, inner: TransitionKernel, **lines: Callable) -> None:
        self.inner, self.lines = inner, lines

    @property
    def space(self):
        return self.inner.space

    @property
    def steps(self):
        return self.inner.steps

    def _line(self, name, *arguments):
        if name in self.lines:
            return self.lines[name](self.inner, *arguments)
        return getattr(self.inner, name)(*arguments)

    def marginal(self, x0, t, layout):
        return self._line("marginal", x0, t, layout)

    def transition(self, x_s, s, t, layout):
        return self._line("transition", x_s, s, t, layout)

    def reverse(self, x_t, x0, t, s, layout):
        return self._line("reverse", x_t, x0, t, s, layout)

    def prior(self, layout):
        return self._line("prior", layout)

    def reconstruction(self, x_t, x0, t, layout):
        return self._line("reconstruction", x_t, x0, t, layout)

    def bridge(self, x_t, x0, t, s, layout, eta):
        if "reverse" in self.lines:  # the default is the reverse of the kernel itself
            return super().bridge(x_t, x0, t, s, layout, eta)
        return self._line("bridge", x_t, x0, t, s, layout, eta)

    def simulate(self, x, times, layout, noise):
        if "simulate" in self.lines:
            return self.lines["simulate"](self.inner, x, times, layout, noise)
        return super().simulate(x, times, layout, noise)

    def noisy(self, x0, t, layout, noise):
        if "noisy" in self.lines:
            return self.lines["noisy"](self.inner, x0, t, layout, noise)
        return super().noisy(x0, t, layout, noise)


@dataclass(frozen=True, eq=False)
class Law(Distribution):
    """A distribution of which one method is another: bent(inner, *arguments of the method)."""

    inner: Distribution
    name: str
    bent: Callable

    @property
    def mean(self):
        return self.inner.mean

    @property
    def mode(self):
        return self.inner.mode

    def _call(self, name, *arguments):
        if name == self.name:
            return self.bent(self.inner, *arguments)
        return getattr(self.inner, name)(*arguments)

    def sample(self, noise):
        return self._call("sample", noise)

    def log_prob(self, x):
        return self._call("log_prob", x)

    def kl(self, other):
        return self._call("kl", other.inner if isinstance(other, Law) else other)


def with_law(name: str, bent: Callable) -> Bent:
    """VP with marginals of which one method is another."""
    return Bent(VP, marginal=lambda k, x0, t, lay: Law(k.marginal(x0, t, lay), name, bent))


def forward_variance(k, x_t, x0, t, s, layout):
    law = k.reverse(x_t, x0, t, s, layout)
    if isinstance(s, float) and s == 0:
        return law
    return replace(law, std=k.transition(law.mean, s, t, layout).std)


def swapped_coefficients(k, x_t, x0, t, s, layout):
    law = k.reverse(x_t, x0, t, s, layout)
    mean = k.reverse(x0.mean, Dirac(x_t, layout), t, s, layout).mean
    return replace(law, mean=mean)


def without_earlier_noise(k, x_s, s, t, layout):
    return replace(k.transition(x_s, s, t, layout), std=k.schedule.sigma(t))


def squared_alpha(k, x0, t, layout):
    law = k.marginal(x0, t, layout)
    return replace(law, mean=layout.expand(k.schedule.alpha(t), x0) * law.mean)


def transposed(k, x_s, s, t, layout):
    columns = []
    for j in range(k.space.vocab):
        law = k.transition(torch.full_like(x_s, j), s, t, layout)
        columns.append(law.log_probs.gather(-1, x_s[..., None]))
    return Categorical.from_logits(torch.cat(columns, -1), layout)


def off_centre(k, x0, t, layout):
    return replace(k.marginal(x0, t, layout), space=Euclidean())


def shared_noise(law, noise):
    one = NoiseSource(noise.seed, [noise.ids[0]], noise.branch)
    first = replace(law.layout, batch=1, shape=(1, *law.layout.shape[1:]))
    z = Gaussian(law.mean[:1] * 0, 1.0, law.space, first).sample(one)
    return law.mean + law.scale * z


def forgotten_spread(k, x_t, x0, t, s, layout):
    return k.reverse(x_t, Dirac(x0.mean, layout), t, s, layout)


def never_clean(k, x0, t, layout):
    law = k.marginal(x0, t, layout)
    return replace(law, std=(law.std**2 + 1e-4) ** 0.5)


def first_time(k, x0, t, layout):
    return k.marginal(x0, float(t.flatten()[0]) if isinstance(t, torch.Tensor) else t, layout)


def any_time(k, x0, t, layout):
    return k.marginal(x0, min(max(t, 0.0), 1.0) if isinstance(t, float) else t, layout)


def too_sure(k, x_t, x0, t, layout):
    return Law(k.reconstruction(x_t, x0, t, layout), "log_prob", lambda p, x: p.log_prob(x) + 20.0)


def wide(mean, std, space, layout):
    """A Gaussian whose draws are wider than it says."""
    law = Gaussian(mean, std, space, layout)
    object.__setattr__(law, "sample", lambda noise: 1.1 * Gaussian.sample(law, noise))
    return law


KERNELS = [
    ("variance of the step forward in the posterior", "bayes", Bent(VP, reverse=forward_variance)),
    ("x_0 and x_t swapped in the posterior", "bayes", Bent(VP, reverse=swapped_coefficients)),
    (
        "transition with all the noise of x_t",
        "chapman_kolmogorov",
        Bent(VP, transition=without_earlier_noise),
    ),
    ("alpha squared in the marginal", "chapman_kolmogorov", Bent(VP, marginal=squared_alpha)),
    ("Q transposed", "chapman_kolmogorov", Bent(TOKENS, transition=transposed)),
    (
        "prior N(0, I) on VE",
        "time_one_is_the_prior",
        Bent(
            GaussianKernel(Euclidean(), VE()),
            prior=lambda k, layout: replace(k.prior(layout), std=1.0),
        ),
    ),
    (
        "centre of mass left in the noise",
        "samples_are_of_the_space",
        Bent(GaussianKernel(ZeroCoM(), VPLinear()), marginal=off_centre),
    ),
    (
        "noise shared across the batch",
        "noise_belongs_to_the_sample",
        with_law("sample", shared_noise),
    ),
    (
        "variance in the place of the standard deviation, in sample",
        "samples_match_log_prob",
        with_law("sample", lambda p, noise: replace(p, std=p.std**2).sample(noise)),
    ),
    (
        "draws too wide by a tenth",
        "samples_match_their_moments",
        Bent(VP, prior=lambda k, layout: wide(k.prior(layout).mean, 1.0, k.space, layout)),
    ),
    (
        "density without its normaliser",
        "samples_match_log_prob",
        with_law("log_prob", lambda p, x: -0.5 * ((x - p.mean) ** 2).flatten(1).sum(1) / p.std**2),
    ),
    (
        "divergence in the other direction",
        "divergence",
        with_law("kl", lambda p, other: other.kl(p)),
    ),
    ("variance of x_0 forgotten in reverse", "mixture_rule", Bent(VP, reverse=forgotten_spread)),
    ("smallest noise level kept at t = 0", "time_zero_is_the_data", Bent(VP, marginal=never_clean)),
    ("the first sample's time for all", "times_per_sample", Bent(VP, marginal=first_time)),
    ("times outside [0, 1] clamped", "wrong_times_are_refused", Bent(VP, marginal=any_time)),
    (
        "a last term that is no density",
        "bound_of_the_likelihood",
        Bent(VP, reconstruction=too_sure),
    ),
]
