"""Bounds and likelihoods of data, whose states a model diffuses: nats in the data's own units.

With the states z of a codec q(z | x), p(x | z),

    -log p(x) <= E_q [bound of -log p(z) - log p(x | z) + log q(z | x)].

An invertible codec has z = f(x), and the last two terms are -log |det dz / dx|. The last step of
the diffusion's bound, -log p(z | z_t), is then read in the data directly: the law of z is pushed
through the codec, and a density, or the probability of levels, is that of the data behind it.

Codes of a `Tied` codec have the diffusion's own least noise, and in the limit of infinitely many
steps what they take is known without the density of any code,

    -log p(x) <= E_q -log p(x | z_0) + KL(q(z_1 | x) || prior)
                 + 1/2 int_0^1 gamma' E|eps - eps_hat|^2 dt

with gamma and eps those of z_t given x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.codecs import Affine, Codec, Encoded, Identity, ProductCodec, Tied
from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Distribution, Gaussian, Levels
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Above, GaussianKernel, ProductKernel, TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.objectives.batch import Batch
from unnoise.objectives.bound import Bound, bound
from unnoise.objectives.data_types import (
    Continuous,
    DataType,
    Dequantised,
    Quantised,
    Reading,
    data_of_parts,
)
from unnoise.objectives.likelihood import Likelihood, Trace, level_likelihood, log_likelihood
from unnoise.objectives.limit import limit_bound
from unnoise.objectives.sde_bound import drawn_times, error_of, whole_noise_error
from unnoise.objectives.times import ImportanceTimes, d_gamma
from unnoise.samplers import Diffusion
from unnoise.spaces import Euclidean, Layout, State, parts

_EARLIEST = 1e-6  # of tied codes, whose integrand is finite at 0


@final
@dataclass(frozen=True, eq=False)
class Behind(Reading):
    """States read as the data `x` behind them, through an invertible codec.

    Attributes
    ----------
    data : what x is.
    codec, condition : how the states came about.
    x, layout : the data.
    unit : size of the data's unit in the states, the geometric mean over entries.
    """

    data: DataType
    codec: Codec
    x: State
    layout: Layout
    condition: Condition
    unit: float

    def check(self, x: State, layout: Layout) -> None:
        self.data.check(self.x, self.layout)

    @property
    def measure(self) -> str:
        return self.data.measure

    def log_prob(self, law: Distribution, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        if not isinstance(law, Gaussian):
            raise InputError("a Gaussian law is read as data", value=type(law).__name__)
        std = law.std.double() if isinstance(law.std, Tensor) else law.std
        exact = Gaussian(law.mean.double(), std, law.space, law.layout)
        pushed = self.codec.push(exact, layout, self.condition)
        return self.data.log_prob(pushed, self.x, self.layout)

    @property
    def rounding(self) -> float:
        return self.data.rounding * self.unit


def data_bound(
    denoiser: Denoiser,
    codec: Codec,
    batch: Batch,
    noise: NoiseSource,
    *,
    data: DataType,
    steps: int | None = 1000,
    evaluations: int | None = None,
) -> Bound:
    """The variational bound of a batch of data, in the units of `data`.

    `steps` None is the limit of infinitely many, `limit_bound`; a discrete kernel has its own.
    Other parameters and errors as of `bound`.
    """
    kernel = denoiser.kernel
    if steps is None and isinstance(codec, Tied) and _is_above(kernel):
        return _tied_bound(denoiser, codec, batch, noise, data, evaluations)
    encoded = codec.encode(batch.x0, batch.layout, batch.condition, noise)
    kernel.space.validate(encoded.state, encoded.layout)
    run = Diffusion(denoiser, encoded.layout, noise, batch.condition)
    readings, terms = _readings(kernel, data, codec, batch, encoded)
    steps = kernel.steps or steps
    whole = readings.get("")
    if steps is None:
        found = limit_bound(run, encoded.state, evaluations=evaluations, data=whole)
    else:
        found = bound(
            run, encoded.state, steps=steps, evaluations=evaluations, data=whole or readings or None
        )
    return _shifted(found, terms)


def _is_above(kernel: TransitionKernel) -> bool:
    return isinstance(kernel, GaussianKernel) and isinstance(kernel.schedule, Above)


def _tied_bound(
    denoiser: Denoiser,
    codec: Tied,
    batch: Batch,
    noise: NoiseSource,
    data: DataType,
    evaluations: int | None,
) -> Bound:
    """The bound of tied codes by as many evaluations, 100 by default."""
    data.check(batch.x0, batch.layout)
    kernel = denoiser.kernel
    assert isinstance(kernel, GaussianKernel)
    assert isinstance(kernel.schedule, Above)
    whole = GaussianKernel(kernel.space, kernel.schedule.schedule)
    mu, layout = codec.clean(batch.x0, batch.layout, batch.condition)
    kernel.space.validate(mu, layout)
    z = codec.law(mu, layout).sample(noise)
    law = codec.decode(z, layout, batch.condition)
    run = Diffusion(denoiser, layout, noise, batch.condition)
    times, terms = ImportanceTimes(_EARLIEST), []
    n = 100 if evaluations is None else evaluations
    for t in drawn_times(times, whole.schedule, n, run):
        rate = d_gamma(whole.schedule, t) / times.density(whole.schedule, t)
        terms.append(0.5 * rate * whole_noise_error(run, mu, t))
    table = torch.stack(terms)
    return Bound(
        whole.marginal(mu, 1.0, layout).kl(kernel.prior(layout)).double(),
        table.mean(0),
        -log_probability(data, law, batch).double(),
        error_of(table),
        run.evaluations,
        data.measure,
    )


def log_probability(data: DataType, law: Distribution, batch: Batch) -> Float[Tensor, " batch"]:
    """(B,) log p(x) of the batch's data under the law that a decoder says: of levels where the data
    are levels. ConfigError for a law that has none."""
    if not data.rounding:
        return law.log_prob(batch.x0)
    if not isinstance(law, Gaussian | Levels):
        raise ConfigError(
            "levels need a codec whose decoder is Gaussian, or a law of levels",
            value=type(law).__name__,
        )
    return data.log_prob(law, batch.x0, batch.layout)


def _shifted(found: Bound, terms: Mapping[str, Float[Tensor, " batch"]]) -> Bound:
    """`found` with the codec's terms: of each part, or under "" of all together."""
    term = terms[""] if "" in terms else torch.stack(list(terms.values())).sum(0)
    parts = {
        name: replace(part, reconstruction=part.reconstruction - terms[name])
        for name, part in found.parts.items()
        if name in terms  # a codec of all parts together says nothing of each
    }
    return replace(found, reconstruction=found.reconstruction - term, parts=parts)


def _readings(
    kernel: TransitionKernel, data: DataType, codec: Codec, batch: Batch, encoded: Encoded
) -> tuple[Mapping[str, Reading], Mapping[str, Float[Tensor, " batch"]]]:
    """How the states are read, and what is added to their log probability, (B,) nats: by part of a
    product, under "" of another state or where the codec does not go part by part."""
    if isinstance(kernel, GaussianKernel):
        reading, term = _read(data, codec, batch, encoded)
        return {"": reading}, {"": term}
    codecs = _codecs(kernel, codec)
    if codecs is None or not isinstance(kernel, ProductKernel):
        return {}, {"": encoded.log_density}
    types = {n: t for n, t in data_of_parts(data, kernel.space).items() if isinstance(t, DataType)}
    x0, states = parts(batch.x0, codecs), parts(encoded.state, codecs)
    readings: dict[str, Reading] = {}
    terms = {}
    for name, part in kernel.parts.items():
        own = Batch(x0[name], batch.layout[name], batch.condition)
        change = codecs[name].encode(own.x0, own.layout, own.condition).log_density
        of = Encoded(states[name], encoded.layout[name], change)
        if isinstance(part, GaussianKernel):
            readings[name], terms[name] = _read(types[name], codecs[name], own, of)
        else:
            readings[name], terms[name] = types[name], change
    return readings, terms


def _codecs(kernel: TransitionKernel, codec: Codec) -> Mapping[str, Codec] | None:
    """Of each part of a product, if the codec goes part by part and is a function."""
    if isinstance(codec, Identity) and isinstance(kernel, ProductKernel):
        return dict.fromkeys(kernel.parts, codec)
    return codec.parts if isinstance(codec, ProductCodec) and codec.invertible else None


def data_likelihood(
    denoiser: Denoiser,
    codec: Codec,
    batch: Batch,
    noise: NoiseSource,
    *,
    data: DataType,
    trace: Trace | None = None,
    eps: float | None = None,
    tolerance: float = 1e-5,
) -> Likelihood:
    """log p of a batch of data by the probability-flow ODE, in the units of `data`; of a stochastic
    codec, and of levels, a lower bound. Parameters and errors as of `log_likelihood`."""
    if data.rounding:
        encoded = codec.encode(batch.x0, batch.layout, batch.condition, noise)
        run = Diffusion(denoiser, encoded.layout, noise, batch.condition)
        reading, term = _read(data, codec, batch, encoded)
        if codec.invertible:
            return level_likelihood(
                run, encoded.state, data=reading, trace=trace, eps=eps, tolerance=tolerance
            )
        change = term
    else:
        space = denoiser.kernel.space if codec.invertible else Euclidean()
        x, change = data.prepare(batch.x0, space, batch.layout, noise)
        encoded = codec.encode(x, batch.layout, batch.condition, noise)
        run = Diffusion(denoiser, encoded.layout, noise, batch.condition)
        change = change + encoded.log_density
    return log_likelihood(
        run, encoded.state, change=change, trace=trace, eps=eps, tolerance=tolerance
    )


def of_states(data: DataType, codec: Codec) -> DataType:
    """What the states are when the data are `data`: for objectives, which are told of states.

    Raises
    ------
    ConfigError : the codec is neither the identity nor an Affine of two numbers, or the type is not
        one of Continuous, Dequantised and Quantised.
    """
    if isinstance(codec, Identity):
        return data
    if isinstance(codec, Affine) and codec.mean.numel() == 1 and codec.scale.numel() == 1:
        mean, scale = float(codec.mean), float(codec.scale)
        if isinstance(data, Continuous):
            return Continuous(data.unit / scale)
        if isinstance(data, Quantised | Dequantised):
            low, high = ((x - mean) / scale - codec.shift for x in (data.low, data.high))
            return replace(data, low=low, high=high)
    raise ConfigError(
        "states of this codec have no data type of their own",
        value=f"{type(data).__name__} through {type(codec).__name__}",
        fix="measure such data with `data_bound`",
    )


def _read(
    data: DataType, codec: Codec, batch: Batch, encoded: Encoded
) -> tuple[Reading, Float[Tensor, " batch"]]:
    """How the states are read, and what is added to their log probability, (B,) nats."""
    data.check(batch.x0, batch.layout)
    nothing = torch.zeros_like(encoded.log_density)
    if isinstance(codec, Identity):
        return data, nothing
    if codec.invertible:
        entries = int(encoded.layout.sizes.sum())
        unit = torch.exp(encoded.log_density.sum() / max(entries, 1))
        reading = Behind(data, codec, batch.x0, batch.layout, batch.condition, float(unit))
        return reading, nothing
    term = encoded.log_density
    if data.rounding:  # probabilities of levels in place of densities
        law = codec.decode(encoded.state, encoded.layout, batch.condition)
        term = term - law.log_prob(batch.x0) + log_probability(data, law, batch)
    return Continuous(), term.double()
