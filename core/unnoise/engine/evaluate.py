"""A model's bound and likelihood of a batch of data."""

from __future__ import annotations

from functools import partial

import torch

from unnoise.domain import Trained
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    Batch,
    Bound,
    DataType,
    Likelihood,
    Quantised,
    Trace,
    bound,
    level_likelihood,
    limit_bound,
    log_likelihood,
)
from unnoise.samplers import Diffusion


def evaluate_bound(
    model: Trained,
    batch: Batch,
    seed: int,
    steps: int | None,
    evaluations: int | None,
    data: DataType,
) -> Bound:
    """The variational bound of one batch under a model, of a chain or (None) of its limit."""
    model.denoiser.eval()
    kernel = model.denoiser.kernel
    kernel.space.validate(batch.x0, batch.layout)
    run = _run(model, batch, seed)
    steps = kernel.steps or steps
    estimate = limit_bound if steps is None else partial(bound, steps=steps)
    with torch.no_grad():
        return estimate(run, batch.x0, evaluations=evaluations, data=data)


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
    space, layout = model.denoiser.kernel.space, batch.layout
    space.validate(batch.x0, layout)
    run = _run(model, batch, seed)
    if isinstance(data, Quantised):
        return level_likelihood(run, batch.x0, data=data, trace=trace, eps=eps, tolerance=tolerance)
    x, change = data.prepare(batch.x0, space, layout, run.noise)
    return log_likelihood(run, x, change=change, trace=trace, eps=eps, tolerance=tolerance)


def _run(model: Trained, batch: Batch, seed: int) -> Diffusion:
    noise = NoiseSource(seed, range(batch.layout.batch))
    return Diffusion(model.denoiser, batch.layout, noise, batch.condition)
