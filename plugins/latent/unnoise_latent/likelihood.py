"""How many nats data take through a learned latent space, in the data's own units.

By parts (the negative evidence bound):

    -log p(x) <= E_q -log p(x | z)  +  E_q log q(z | x) + CE(q(z | x) || p(z))
                 reconstruction        posterior          cross entropy

the last by the variational bound of the diffusion in the limit of infinitely many steps. The last
two together are the divergence of the latents; of a `Tied` codec it is known without either.

More tightly, by k draws (Burda 2016),

    -log p(x) <= E -log 1/k sum_i p(x | z_i) p(z_i) / q(z_i | x),    z_i ~ q(z | x),

which falls with k, with p(z) by the probability-flow ODE. Hutchinson's estimate of its divergence,
from a probe that is fixed for a solve, is unbiased in log p(z) but not in p(z): noise that differs
between the draws flatters the bound by about half its variance. All draws of a sample therefore
share their probe, so that what is common to them, most of it, does no harm.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from unnoise.codecs import Codec
from unnoise.denoise import Denoiser
from unnoise.errors import InputError
from unnoise.model import Metric
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    Batch,
    DataType,
    ExactTrace,
    Hutchinson,
    Trace,
    bits_per_dimension,
    data_bound,
    log_likelihood,
    log_probability,
)
from unnoise.samplers import Diffusion
from unnoise.spaces import Euclidean
from unnoise.training.data import read
from unnoise_latent.objective import drawn

if TYPE_CHECKING:
    from unnoise.model import Model


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """The negative evidence bound by parts, each (B,) float64 nats.

    Attributes
    ----------
    reconstruction : -log p(x | z) at one draw of z.
    posterior : log q(z | x) there.
    cross_entropy : the diffusion's bound of -log p(z); of a `Tied` codec what is left of the
        divergence without `posterior`.
    standard_error : of the integral over time.
    evaluations : of a network.
    """

    reconstruction: Float64[Tensor, " batch"]
    posterior: Float64[Tensor, " batch"]
    cross_entropy: Float64[Tensor, " batch"]
    standard_error: Float64[Tensor, " batch"]
    evaluations: int

    @property
    def divergence(self) -> Float64[Tensor, " batch"]:
        """(B,) what the latents take: KL(q(z | x) || p(z)), or a bound of it, on average."""
        return self.posterior + self.cross_entropy

    @property
    def nats(self) -> Float64[Tensor, " batch"]:
        """(B,) the bound of -log p(x)."""
        return self.reconstruction + self.divergence


@torch.no_grad()
def parts_of_nelbo(
    denoiser: Denoiser,
    codec: Codec,
    batch: Batch,
    noise: NoiseSource,
    *,
    data: DataType,
    evaluations: int = 100,
) -> Evidence:
    """The bound of a batch of data, at one draw of z each and `evaluations` times of the diffusion.

    Raises
    ------
    InputError : the codec draws nothing, or the data are not of this type.
    ConfigError : a kernel without such a bound.
    """
    again = noise.copy()
    found = data_bound(
        denoiser, codec, batch, noise, data=data, steps=None, evaluations=evaluations
    )
    gain, posterior = _laws(codec, batch, again, data)[:2]
    return Evidence(
        -gain,
        posterior,
        found.total.double() + gain - posterior,
        found.standard_error.double(),
        found.evaluations,
    )


@final
@dataclass(frozen=True, eq=False)
class ImportanceWeighted:
    """A bound of -log p(x) by several draws of z.

    Attributes
    ----------
    log_weights : (k, B) float64, log p(x | z_i) + log p(z_i) - log q(z_i | x).
    estimator : of the ODE's divergence.
    evaluations : of a network, for all draws.
    """

    log_weights: Float64[Tensor, "draws batch"]
    estimator: str
    evaluations: int

    def nats(self, draws: int | None = None) -> Float64[Tensor, " batch"]:
        """(B,) the bound by this many draws, by default all; by fewer, the mean over groups.

        Raises
        ------
        InputError : more than there are.
        """
        k = len(self.log_weights)
        draws = k if draws is None else draws
        if not 1 <= draws <= k:
            raise InputError("no such number of draws", value=draws, limit=f"1 to {k}")
        groups = self.log_weights[: k // draws * draws].view(k // draws, draws, -1)
        return -(groups.logsumexp(1) - math.log(draws)).mean(0)

    @property
    def effective(self) -> Float64[Tensor, " batch"]:
        """(B,) the effective number of draws, (sum w)^2 / sum w^2."""
        logs = self.log_weights
        return (2 * logs.logsumexp(0) - (2 * logs).logsumexp(0)).exp()


@torch.no_grad()
def importance_weighted(
    denoiser: Denoiser,
    codec: Codec,
    batch: Batch,
    noise: NoiseSource,
    *,
    data: DataType,
    draws: int = 10,
    trace: Trace | None = None,
    eps: float | None = None,
    tolerance: float = 1e-5,
    report: Callable[[int], None] = lambda done: None,
) -> ImportanceWeighted:
    """The bound of a batch by `draws` latents each.

    Parameters
    ----------
    trace, eps, tolerance : of `unnoise.objectives.log_likelihood`; the exact trace is the default
        of up to 16 latents only.
    report : called with the number of draws that are done.

    Raises
    ------
    InputError : the codec draws nothing, the data are not of this type, or no draws.
    NonFiniteError, LimitExceeded : the ODE cannot be solved.
    """
    if draws < 1:
        raise InputError("the bound needs a draw", value=draws, limit=">= 1")
    weights, evaluations, estimator, probe = [], 0, "", noise.fork()
    for done in range(draws):
        gain, posterior, z, layout = _laws(codec, batch, noise, data)
        run = Diffusion(denoiser, layout, probe.copy(), batch.condition)
        found = log_likelihood(run, z, trace=trace, eps=eps, tolerance=tolerance)
        weights.append(gain + found.nats - posterior)
        evaluations, estimator = evaluations + found.evaluations, found.estimator
        report(done + 1)
    return ImportanceWeighted(torch.stack(weights), estimator, evaluations)


def _laws(codec: Codec, batch: Batch, noise: NoiseSource, data: DataType) -> tuple[Any, ...]:
    """log p(x | z), log q(z | x), z and its layout, at one draw."""
    data.check(batch.x0, batch.layout)
    found = codec.encode(batch.x0, batch.layout, batch.condition, noise)
    gain, posterior = drawn(found)
    if data.rounding:
        law = codec.decode(found.state, found.layout, batch.condition)
        gain = log_probability(data, law, batch).double()
    return gain, posterior, found.state, found.layout


class _Held(Metric):
    """What is measured of the held-out part, batch by batch."""

    num_samples: int = Field(64, ge=1)
    batch_size: int = Field(64, ge=1)
    seed: int = Field(0, ge=0)

    @abstractmethod
    def rows(
        self, model: Model, batch: Batch, noise: NoiseSource, report: Callable[[float], None]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(B,) nats by name, those of the bound first, and what is to be said of them."""

    def measure(
        self, model: Model, source: Any, report: Callable[[str, float], None]
    ) -> Mapping[str, Any]:
        data = model.domain.dataset(source, model.configuration, "validation")
        length = len(data)  # type: ignore[arg-type]  # torch's data sets need not have one
        if length == 0:
            raise InputError("the data have no validation part", value=str(source))
        model.denoiser.eval()
        model.codec.eval()
        count, began, notes = min(self.num_samples, length), time.monotonic(), {}
        found: list[dict[str, Tensor]] = []
        bits: list[Tensor] = []
        kind = model.domain.data_type(model.configuration)
        for first, places in _batches(count, length, self.batch_size):
            batch = model.domain.collate([read(data, k, self.seed, k) for k in places])
            noise = NoiseSource(self.seed, range(first, first + len(places)))

            def follow(part: float, first: int = first, size: int = len(places)) -> None:
                report("measuring", (first + part * size) / count)

            own, notes = self.rows(model, batch, noise, follow)
            found.append(own)
            bits.append(bits_per_dimension(own["nats"], kind, batch.x0, Euclidean(), batch.layout))
        rows = {name: torch.cat([one[name] for one in found]) for name in found[0]}
        error = rows["nats"].std(correction=1) / math.sqrt(count) if count > 1 else None
        return {
            "items": count,
            "standard_error": None if error is None else float(error),
            "bits_per_dimension": float(torch.cat(bits).mean()),
            "units": repr(kind),
            **{name: float(value.mean()) for name, value in rows.items()},
            **notes,
            "seconds": time.monotonic() - began,
        }

    def text(self, result: Mapping[str, Any]) -> str:
        error = result["standard_error"]
        spread = "" if error is None else f" +- {error:.3f}"
        bits = f"{result['bits_per_dimension']:.4f} bits per dimension"
        whole = f"{result['nats']:.3f}{spread} nats a sample, {bits}"
        lines = [f"{whole}, {result['items']} samples ({result['units']})"]
        shown = {"items", "standard_error", "bits_per_dimension", "units", "nats"}
        lines += [
            f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}"
            for name, value in result.items()
            if name not in shown
        ]
        return "\n".join(lines)


@final
class Nelbo(_Held):
    """The negative evidence bound by parts: reconstruction, and the divergence of the latents."""

    evaluations: int = Field(100, ge=1, description="times at which the diffusion is evaluated")

    def rows(
        self, model: Model, batch: Batch, noise: NoiseSource, report: Callable[[float], None]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        kind = model.domain.data_type(model.configuration)
        found = parts_of_nelbo(
            model.denoiser, model.codec, batch, noise, data=kind, evaluations=self.evaluations
        )
        report(1.0)
        rows = {
            "nats": found.nats,
            "reconstruction": found.reconstruction,
            "divergence": found.divergence,
            "posterior": found.posterior,
            "cross_entropy": found.cross_entropy,
        }
        return rows, {"evaluations": found.evaluations}


@final
class Importance(_Held):
    """The importance-weighted bound, the prior by the probability-flow ODE."""

    draws: int = Field(10, ge=1, description="of the latents of each sample")
    probes: int = Field(
        1, ge=0, description="of the trace of the ODE's field, drawn once a solve; 0: the exact one"
    )
    tolerance: float = Field(1e-5, gt=0)

    def rows(
        self, model: Model, batch: Batch, noise: NoiseSource, report: Callable[[float], None]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        found = importance_weighted(
            model.denoiser,
            model.codec,
            batch,
            noise,
            data=model.domain.data_type(model.configuration),
            draws=self.draws,
            trace=Hutchinson(self.probes) if self.probes else ExactTrace(),
            tolerance=self.tolerance,
            report=lambda done: report(done / self.draws),
        )
        rows = {"nats": found.nats(), "nats_by_one": found.nats(1), "effective": found.effective}
        return rows, {"draws": self.draws, "estimator": found.estimator}


def _batches(count: int, length: int, size: int) -> Iterator[tuple[int, list[int]]]:
    """Numbers and places of `count` items that are evenly spaced over `length`."""
    places = [i * length // count for i in range(count)]
    for first in range(0, count, size):
        yield first, places[first : first + size]
