"""Kernels, spaces and schedules, each with one mistake planted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian
from unnoise.kernels import (
    VE,
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    Schedule,
    TransitionKernel,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Euclidean, Tokens, ZeroCoM

VP = GaussianKernel(Euclidean(), VPLinear())
TOKENS = CategoricalKernel(Tokens(4), Absorbing(3))
LINES = ("marginal", "transition", "reverse", "prior", "reconstruction")


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


class Space(DataSpace):
    """ZeroCoM, of which methods are others."""

    def __init__(self, **methods: Callable) -> None:
        self.inner, self.methods = ZeroCoM(), methods

    def _call(self, name, *arguments):
        own = self.methods.get(name)
        return own(*arguments) if own else getattr(self.inner, name)(*arguments)

    def layout(self, x):
        return self._call("layout", x)

    def validate(self, x, layout):
        return self._call("validate", x, layout)

    def project(self, x, layout):
        return self._call("project", x, layout)

    def dim(self, layout):
        return self._call("dim", layout)


def lenient(x, layout):
    """Any real state of the right shape, but NaN."""
    Euclidean().validate(x, layout)


def shape_alone(x, layout):
    ZeroCoM().validate(torch.zeros_like(x), layout)


def in_place(x, layout):
    return x.sub_(layout.mean_point(x))


def of_the_batch(x, layout):
    return x - x.mean(tuple(range(x.ndim - 1)), keepdim=True)


def first_point(x, layout):
    return x - x[:, :1] if x.ndim == 3 else x - layout.mean_point(x)


def padding_counted(x, layout):
    if layout.mask is None:
        return ZeroCoM().project(x, layout)
    return layout.zero_padding(x - x.mean(1, keepdim=True))


def one_sample(x, layout):
    return x - x.mean(0) if layout.index is not None else ZeroCoM().project(x, layout)


def turned(x):
    layout = ZeroCoM().layout(x)
    return replace(layout, dtype=torch.float32)


SPACES = [
    (
        "centre of mass not removed",
        "dim_is_the_rank_of_the_projection",
        Space(project=lambda x, layout: layout.zero_padding(x), validate=lenient),
    ),
    (
        "centre of mass removed by half",
        "projection_is_idempotent",
        Space(project=lambda x, layout: x - 0.5 * layout.mean_point(x), validate=lenient),
    ),
    (
        "all coordinates counted as free",
        "dim_is_the_rank_of_the_projection",
        Space(dim=lambda layout: layout.sizes),
    ),
    (
        "the first point moved to the origin",
        "projection_is_orthogonal",
        Space(project=first_point, validate=lenient),
    ),
    (
        "centre of the whole batch removed",
        "projection_is_orthogonal",
        Space(project=of_the_batch, validate=lenient),
    ),
    (
        "padding counted in the centre",
        "padded_batches",
        Space(project=padding_counted, validate=lenient),
    ),
    ("row index ignored", "ragged_batches", Space(project=one_sample, validate=lenient)),
    ("NaN accepted", "wrong_states_are_refused", Space(validate=shape_alone)),
    ("projection in place", "input_is_left_alone", Space(project=in_place)),
    (
        "layout of another type",
        "layout_round_trip",
        Space(layout=turned, validate=lambda x, lay: None),
    ),
]


@dataclass(frozen=True)
class Curve(Schedule):
    """A cosine, of which functions are others; a table of n steps where n is given."""

    bent: tuple = ()
    n: int | None = None

    @property
    def steps(self):
        return self.n

    def _call(self, name, t):
        own = dict(self.bent).get(name)
        return own(t) if own else getattr(Curve, f"_{name}")(t)

    @staticmethod
    def _alpha(t):
        return cosine(0.45 * math.pi, t)

    @staticmethod
    def _sigma(t):
        return sine(0.45 * math.pi, t)

    @staticmethod
    def _d_alpha(t):
        return -0.45 * math.pi * sine(0.45 * math.pi, t)

    @staticmethod
    def _d_sigma(t):
        return 0.45 * math.pi * cosine(0.45 * math.pi, t)

    def alpha(self, t):
        return self._call("alpha", t)

    def sigma(self, t):
        return self._call("sigma", t)

    def d_alpha(self, t):
        return self._call("d_alpha", t)

    def d_sigma(self, t):
        return self._call("d_sigma", t)

    def log_snr(self, t):
        own = dict(self.bent).get("log_snr")
        true = super().log_snr(t)
        return own(true) if own else true


def cosine(a, t):
    return torch.cos(a * t) if isinstance(t, torch.Tensor) else math.cos(a * t)


def sine(a, t):
    return torch.sin(a * t) if isinstance(t, torch.Tensor) else math.sin(a * t)


def bent(n=None, **functions):
    return Curve(tuple(functions.items()), n)


def late(t, n=10):
    """Each step with the level of the one before."""
    if isinstance(t, torch.Tensor):
        return (t - 1 / n).clamp(min=0)
    return max(t - 1 / n, 0.0)


def capped(t, n=10):
    """The last step with the level of the one before."""
    return t.clamp(max=1 - 1 / n) if isinstance(t, torch.Tensor) else min(t, 1 - 1 / n)


SCHEDULES = [
    (
        "table one step late",
        "finite_and_not_negative",
        bent(10, alpha=lambda t: Curve._alpha(late(t)), sigma=lambda t: Curve._sigma(late(t))),
    ),
    (
        "table one entry short",
        "noise_grows",
        bent(10, alpha=lambda t: Curve._alpha(capped(t)), sigma=lambda t: Curve._sigma(capped(t))),
    ),
    ("sign of a derivative", "derivatives", bent(d_sigma=lambda t: -Curve._d_sigma(t))),
    ("noise at t = 0", "clean_at_zero", bent(sigma=lambda t: Curve._sigma(t) + 0.01)),
    (
        "float32 inside",
        "floats_are_tensors",
        bent(
            alpha=lambda t: (
                Curve._alpha(t.float()).double() if isinstance(t, torch.Tensor) else Curve._alpha(t)
            )
        ),
    ),
    (
        "log SNR of alpha / sigma, not of its square",
        "log_signal_to_noise_ratio",
        bent(log_snr=lambda true: true / 2),
    ),
]
