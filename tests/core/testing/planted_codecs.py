"""Codecs, each with one mistake planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from unnoise.codecs import Affine, Codec, Whitening
from unnoise.distributions import Dirac
from unnoise.noise import NoiseSource
from unnoise.testing import Example
from unnoise.testing.core_examples import autoencoder_codecs, whitening_codecs


class Bent(Codec):
    """A codec of which methods are others: bent(inner, *arguments of the method)."""

    def __init__(self, inner: Codec, **methods: Callable) -> None:
        super().__init__()
        self.inner, self.methods = inner, methods

    def _call(self, name, *arguments):
        own = self.methods.get(name)
        return own(self.inner, *arguments) if own else getattr(self.inner, name)(*arguments)

    @property
    def invertible(self):
        return self.inner.invertible

    def encode(self, x, layout, condition=None, noise=None):
        return self._call("encode", x, layout, condition, noise)

    def decode(self, z, layout, condition=None):
        return self._call("decode", z, layout, condition)

    def push(self, law, layout, condition=None):
        return self._call("push", law, layout, condition)

    def state_layout(self, layout):
        return self._call("state_layout", layout)

    def data_layout(self, layout):
        return self._call("data_layout", layout)


def affine(**methods):
    return Bent(Affine(mean=(3.0, -1.0, 0.5), scale=(2.0, 0.1, 7.0)), **methods)


def stochastic(**methods):
    return Bent(autoencoder_codecs()[0], **methods)


def told(**methods):
    """A codec that follows its condition."""
    example = whitening_codecs()[0]
    return Example(Bent(Whitening("guess", "spread"), **methods), example.arguments)


def density(change: Callable) -> Callable:
    """encode with another log_density."""

    def encode(k, x, layout, condition, noise):
        found = k.encode(x, layout, condition, noise)
        return replace(found, log_density=change(found.log_density, x))

    return encode


def posterior(change: Callable) -> Callable:
    """encode with another log_posterior."""

    def encode(k, x, layout, condition, noise):
        found = k.encode(x, layout, condition, noise)
        return replace(found, log_posterior=change(found.log_posterior))

    return encode


def state(change: Callable) -> Callable:
    """encode with another state."""

    def encode(k, x, layout, condition, noise):
        found = k.encode(x, layout, condition, noise)
        return replace(found, state=change(found.state, x))

    return encode


def decoded(change: Callable) -> Callable:
    def decode(k, z, layout, condition):
        law = k.decode(z, layout, condition)
        return Dirac(change(law.mean), k.data_layout(layout))

    return decode


def any_noise(k, x, layout, condition, noise):
    return k.encode(x, layout, condition, NoiseSource(int(torch.randint(2**31, ())), range(len(x))))


def own_noise(k, x, layout, condition, noise):
    return k.encode(x, layout, condition, NoiseSource(3, range(len(x))))


def forgetful(k, x, layout, condition, noise):
    first = {n: v[:1].expand(v.shape) for n, v in condition.items()}
    return k.encode(x, layout, first, noise)


def deaf(k, x, layout, condition, noise):
    fixed = {n: torch.ones_like(v) for n, v in condition.items()}
    return k.encode(x, layout, fixed, noise)


def deaf_back(k, z, layout, condition):
    fixed = {n: torch.ones_like(v) for n, v in condition.items()}
    return k.decode(z, layout, fixed)


def cleaned(k, x, layout, condition, noise):
    """NaN is mended, silently."""
    return k.encode(torch.nan_to_num(x), layout, condition, noise)


def over(k, x, layout, condition, noise):
    found = k.encode(x, layout, condition, noise)
    x.copy_(found.state)
    return found


def padding_counted(k, x, layout, condition, noise):
    found = k.encode(x, layout, condition, noise)
    if layout.index is not None:
        return found
    return replace(found, log_density=found.log_density + 1e-3 * x.flatten(1).sum(1))


def row_taken_for_sample(k, x, layout, condition, noise):
    found = k.encode(x, layout, condition, noise)
    if layout.index is None:
        return found
    return replace(found, state=found.state + 0.1 * x.mean(0))


CODECS = [
    ("sign of log_density", "log_density_is_the_jacobian", affine(encode=density(lambda d, x: -d))),
    ("log_density of one row", "log_density_is_the_jacobian",
     affine(encode=density(lambda d, x: d / x.shape[1]))),
    ("log_density off by a constant", "log_density_is_the_jacobian",
     affine(encode=density(lambda d, x: d + 0.1))),
    ("log_density in float32", "encodes", affine(encode=density(lambda d, x: d.float()))),
    ("one log_density for the batch", "encodes", affine(encode=density(lambda d, x: d.sum()))),
    ("decode is another map", "round_trip", affine(decode=decoded(lambda x: 1.001 * x))),
    ("decode returns float32", "round_trip", affine(decode=decoded(lambda x: x.float()))),
    ("a state of another type than its layout", "encodes",
     affine(encode=state(lambda z, x: z.float()))),
    ("a layout that does not go back", "encodes",
     affine(data_layout=lambda k, lay: replace(lay, dtype=torch.float32))),
    ("push of the state's law, unmoved", "push_keeps_probability",
     affine(push=lambda k, law, layout, condition: law)),
    ("log_density of a stochastic codec off", "log_density_follows_the_draws",
     stochastic(encode=density(lambda d, x: d + 0.2))),
    ("sign of log_density of a stochastic codec", "log_density_follows_the_draws",
     stochastic(encode=density(lambda d, x: -d))),
    ("log_posterior of another draw", "log_density_follows_the_draws",
     stochastic(encode=posterior(lambda q: q.roll(1)))),
    ("draws too wide", "log_density_follows_the_draws",
     stochastic(encode=state(lambda z, x: z + 0.5 * (z - z.mean(0))))),
    ("global random numbers", "noise_source_is_used", stochastic(encode=any_noise)),
    ("a stream of its own", "noise_source_is_used", stochastic(encode=own_noise)),
    ("the mean of the batch taken off", "samples_stand_alone",
     affine(encode=state(lambda z, x: z - z.mean(0)))),
    ("the first row's condition for all", "samples_stand_alone", told(encode=forgetful)),
    ("the condition ignored", "condition_matters", told(encode=deaf)),
    ("the condition ignored on the way back", "round_trip", told(decode=deaf_back)),
    ("padding counted in log_density", "padding_is_ignored", affine(encode=padding_counted)),
    ("padding of the state not 0", "padding_is_ignored",
     affine(encode=state(lambda z, x: z + 0.1))),
    ("rows taken for samples", "ragged_batches", affine(encode=row_taken_for_sample)),
    ("NaN mended silently", "wrong_data_are_refused", affine(encode=cleaned)),
    ("data overwritten", "wrong_data_are_refused", affine(encode=over)),
]  # fmt: skip
