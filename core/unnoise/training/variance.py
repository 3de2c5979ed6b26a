"""The optimal reverse variance of a trained model (Analytic-DPM, Bao 2022), from its data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from unnoise.codecs import Codec
from unnoise.denoise import AnalyticVariance, analytic_variance
from unnoise.discovery.domains import collated, dataset_of
from unnoise.domain import Batch
from unnoise.errors import ConfigError, InputError
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.objectives import DataType, Quantised, of_states
from unnoise.training.data import read


def with_variance(
    model: Model,
    data: Any,
    *,
    statistic: Literal["error", "noise"] = "error",
    num_samples: int = 256,
    batch_size: int = 64,
    seed: int = 0,
) -> Model:
    """`model` with the variance of x_0 that its reverse steps and its bound are best with.

    The network stays as it is. An optimal variance that the model has already is replaced.

    Parameters
    ----------
    data : anything that the domain's `dataset` understands; items of its training part are used,
        evenly spaced.
    statistic : what it is estimated from, see `unnoise.denoise.analytic_variance`.

    Raises
    ------
    ConfigError : the kernel is not Gaussian.
    InputError : no data, or no items asked for.
    """
    for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"{name} is at least 1", value=value)
    domain, denoiser = model.domain, model.denoiser.eval()
    inner = denoiser.denoiser if isinstance(denoiser, AnalyticVariance) else denoiser
    items: Any = dataset_of(domain, data, model.configuration, "train")
    count = min(num_samples, len(items))
    kind = domain.data_type(model.configuration)
    model.codec.eval()

    def batches() -> Iterator[Batch]:
        chosen = [i * len(items) // count for i in range(count)]
        for begin in range(0, count, batch_size):
            part = chosen[begin : begin + batch_size]
            with torch.random.fork_rng(devices=[]):
                batch = collated(domain, [read(items, i, seed, i) for i in part])
            noise = NoiseSource(seed, range(begin, begin + len(part)), branch=1)
            yield batch.encoded(model.codec, noise)

    law = analytic_variance(
        inner,
        batches(),
        bounds=_range_of_states(kind, model.codec),
        statistic=statistic,
        seed=seed,
    )
    source = Path(data).name if isinstance(data, (str, Path)) else type(data).__name__
    said = {"of": model.hash, "data": source, "items": count, "statistic": statistic, "seed": seed}
    return replace(model, denoiser=law, card={**model.card, "variance": said}, hash="")


def _range_of_states(data: DataType, codec: Codec) -> tuple[float, float] | None:
    try:
        kind = of_states(data, codec)
    except ConfigError:
        return None  # several scales, or none
    return (kind.low, kind.high) if isinstance(kind, Quantised) else None
