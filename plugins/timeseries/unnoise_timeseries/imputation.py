"""Filling a series with CSDI: window after window, each given what the ones before it made."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from unnoise.denoise import NetworkDenoiser
from unnoise.domain import Plan, Task, Trained
from unnoise.errors import InputError
from unnoise.spaces import Layout
from unnoise.windows import Segment, segments
from unnoise_timeseries.configuration import Configuration
from unnoise_timeseries.data import condition_of, from_state
from unnoise_timeseries.frames import Series
from unnoise_timeseries.network import CSDI

ROOM: Final = 1.5
"""Predictions may leave the range of the training data by half of it: at t = 1 an error of the
noise is 170 times as large in x_0, and a deterministic sampler would follow it."""


def impute(one: Series, model: Trained, samples: int) -> Plan:
    """A plan: one task for each window with a hole in the rows that it keeps.

    Returns float32 (holes,) for each sample, scaled back to float64 by `restore`, in order of rows,
    then columns. Memory: the holes of every sample, and one window's work.
    """
    configuration: Configuration = model.configuration
    scaled = configuration.known.scaler.forward(one.values).astype(np.float32)
    missing = torch.from_numpy(np.isnan(scaled))
    if bool(missing.all()):
        raise InputError("nothing of the series is observed", value=_named(one))
    known = torch.nan_to_num(torch.from_numpy(scaled))
    made = torch.zeros(samples, int(missing.sum()))
    number = missing.flatten().cumsum(0).view(missing.shape) - 1  # of each hole
    for part in segments(len(known), configuration.length, configuration.shared):
        if not bool(missing[part.fresh : part.keep].any()):
            continue
        task = _task(part, known, missing, made, number, model)
        state = yield task
        assert isinstance(state, Tensor)
        assert task.condition is not None
        state = from_state(state, task.condition, ROOM * configuration.known.limit)
        kept = slice(part.fresh - part.start, part.keep - part.start)
        here = missing[part.fresh : part.keep]
        made[:, number[part.fresh : part.keep][here]] = state[:, kept][:, here]
    return list(made)


def restore(made: Tensor, one: Series, configuration: Configuration) -> np.ndarray[Any, Any]:
    """(holes,) float64 in the data's units."""
    columns = np.nonzero(np.isnan(one.values))[1]
    mean, scale = np.asarray(configuration.known.mean), np.asarray(configuration.known.scale)
    return made.double().numpy() * scale[columns] + mean[columns]


def _task(
    part: Segment, known: Tensor, missing: Tensor, made: Tensor, number: Tensor, model: Trained
) -> Task:
    rows, size = slice(part.start, part.start + part.length), len(made)
    target = missing[rows].clone()
    target[: part.fresh - part.start] = False
    given = ~target
    observed = known[rows].expand(size, -1, -1)
    before = missing[rows] & given  # holes that the window before this one has filled
    if bool(before.any()):
        observed = observed.clone()
        observed[:, before] = made[:, number[rows][before]]
    layout = Layout.dense(size, target.shape, mask=target.expand(size, -1, -1))
    condition = condition_of(observed, given.expand(size, -1, -1), model.configuration)
    return Task(layout, condition | _encoded(given, size, model))


def _encoded(given: Tensor, size: int, model: Trained) -> dict[str, Tensor]:
    """What is given, as the network takes it: encoded once for all samples and all steps."""
    denoiser = model.denoiser
    if not isinstance(denoiser, NetworkDenoiser) or not isinstance(denoiser.network, CSDI):
        return {}
    network = denoiser.network
    where = next(model.denoiser.parameters()).device
    with torch.no_grad():
        return {"side": network.side(given[None].to(where)).expand(size, -1, -1, -1)}


def _named(one: Series) -> str:
    return "the frame" if one.name is None else f"series {one.name!r}"
