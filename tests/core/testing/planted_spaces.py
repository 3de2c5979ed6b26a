"""Spaces and schedules, each with one mistake planted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from unnoise.kernels import Schedule
from unnoise.spaces import DataSpace, Euclidean, ZeroCoM


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


class OwnVP(Curve):
    """It says VP, and is not."""

    def sigma(self, t):
        return 0.9 * Curve._sigma(t)

    def d_sigma(self, t):
        return 0.9 * Curve._d_sigma(t)


class OwnVE(Curve):
    """It says VE, and shrinks the data."""


class OwnSubVP(Curve):
    def sigma(self, t):
        return 1.1 * Curve._sigma(t)

    def d_sigma(self, t):
        return 1.1 * Curve._d_sigma(t)


def single(t, function):
    """As a table in float32 would say."""
    if isinstance(t, torch.Tensor):
        return function(t).float().double()
    return float(torch.tensor(function(t)).float())


def wavy(t):
    """Falls, rises a little, and falls."""
    ripple = sine(25.0, t)
    return Curve._alpha(t) + 0.1 * ripple * t


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
    ("it says VP", "claims_hold", OwnVP()),
    ("it says VE", "claims_hold", OwnVE()),
    ("it says SubVP", "claims_hold", OwnSubVP()),
    (
        "a float32 table",
        "in_double_precision",
        bent(alpha=lambda t: single(t, Curve._alpha), sigma=lambda t: single(t, Curve._sigma)),
    ),
    ("alpha rises on the way", "levels_do_not_rise_and_fall", bent(alpha=wavy)),
    (
        "levels sorted",
        "levels_do_not_rise_and_fall",
        bent(
            sigma=lambda t: (
                Curve._sigma(t).sort().values if isinstance(t, torch.Tensor) else Curve._sigma(t)
            )
        ),
    ),
    ("alpha is 0.99 at t = 0", "clean_at_zero", bent(alpha=lambda t: 0.99 * Curve._alpha(t))),
    ("derivative of the square", "derivatives", bent(d_alpha=lambda t: 2 * Curve._d_alpha(t))),
]
