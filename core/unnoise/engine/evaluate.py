"""A model's bound and likelihood of a batch of data, in the data's own units."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unnoise.compat import torch_untouched
from unnoise.domain import Trained
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    Batch,
    Bound,
    DataType,
    Likelihood,
    Trace,
    data_bound,
    data_likelihood,
)


@torch_untouched()
def evaluate_bound(
    model: Trained,
    batch: Batch,
    seed: int,
    steps: int | None,
    evaluations: int | None,
    data: DataType,
    numbers: Sequence[int] | None = None,
) -> Bound:
    """The variational bound of one batch under a model, of a chain or (None) of its limit.
    `numbers` are those of the items' noise, by default their places."""
    model.denoiser.eval()
    model.codec.eval()
    noise = NoiseSource(seed, range(batch.layout.batch) if numbers is None else numbers)
    with torch.no_grad():
        return data_bound(
            model.denoiser,
            model.codec,
            batch,
            noise,
            data=data,
            steps=steps,
            evaluations=evaluations,
        )


@torch_untouched()
def evaluate_likelihood(
    model: Trained,
    batch: Batch,
    data: DataType,
    seed: int,
    trace: Trace | None,
    eps: float | None,
    tolerance: float,
) -> Likelihood:
    """The likelihood of one batch under a model, in the units of `data`."""
    model.denoiser.eval()
    model.codec.eval()
    noise = NoiseSource(seed, range(batch.layout.batch))
    with torch.no_grad():
        return data_likelihood(
            model.denoiser,
            model.codec,
            batch,
            noise,
            data=data,
            trace=trace,
            eps=eps,
            tolerance=tolerance,
        )
