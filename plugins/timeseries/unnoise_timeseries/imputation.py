"""Filling a series with CSDI: window after window, each given what the ones before it made."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from unnoise.denoise import NetworkDenoiser
from unnoise.domain import Plan, Task, Trained
from unnoise.errors import InputError
from unnoise.spaces import Layout, tensor
from unnoise.windows import Segment, segments
from unnoise_timeseries.codec import limits, scaled
from unnoise_timeseries.configuration import Configuration
from unnoise_timeseries.data import condition_of
from unnoise_timeseries.frames import Series
from unnoise_timeseries.network import CSDI

ROOM: Final = 1.5
"""Predictions may leave the range of the training data by half of it: at t = 1 an error of the
noise is 170 times as large in x_0, and a deterministic sampler would follow it."""


def impute(one: Series, model: Trained, samples: int) -> Plan:
    """A plan: one task for each window with a hole in the rows that it keeps.

    Returns measurements, float64 (holes,), for each sample, in order of rows, then columns. Memory:
    the holes of every sample, and one window's work.
    """
    configuration: Configuration = model.configuration
    values = torch.from_numpy(one.values)
    missing = values.isnan()
    if bool(missing.all()):
        raise InputError("nothing of the series is observed", value=_named(one))
    low, high = limits(configuration.known, ROOM)
    made = torch.zeros(samples, int(missing.sum()), dtype=torch.float64)
    number = missing.flatten().cumsum(0).view(missing.shape) - 1  # of each hole
    for part in segments(len(values), configuration.length, configuration.shared):
        if not bool(missing[part.fresh : part.keep].any()):
            continue
        task, told = _task(part, one, missing, made, number, model)
        state = yield task
        found = tensor(model.decode(state, task.layout, told)).clamp(low, high)
        kept = slice(part.fresh - part.start, part.keep - part.start)
        here = missing[part.fresh : part.keep]
        made[:, number[part.fresh : part.keep][here]] = found[:, kept][:, here]
    return list(made)


def _task(
    part: Segment, one: Series, missing: Tensor, made: Tensor, number: Tensor, model: Trained
) -> tuple[Task, dict[str, Tensor]]:
    """The task of a window, and what its codec is told."""
    rows, size = slice(part.start, part.start + part.length), len(made)
    values, configuration = torch.from_numpy(one.values), model.configuration
    target = missing[rows].clone()
    target[: part.fresh - part.start] = False
    given = ~target
    observed = values[rows].expand(size, -1, -1)
    before = missing[rows] & given  # holes that the window before this one has filled
    if bool(before.any()):
        observed = observed.clone()
        observed[:, before] = made[:, number[rows][before]]
    layout = Layout.dense(size, target.shape, mask=target.expand(size, -1, -1))
    z = torch.nan_to_num(scaled(observed, configuration.known))
    told = condition_of(z, given.expand(size, -1, -1), configuration, one.index[rows])
    return Task(layout, told | _encoded(told, model)), told


def _encoded(told: dict[str, Tensor], model: Trained) -> dict[str, Tensor]:
    """What is given, as the network takes it: encoded once for all samples and all steps."""
    denoiser = model.denoiser
    if not isinstance(denoiser, NetworkDenoiser) or not isinstance(denoiser.network, CSDI):
        return {}
    network = denoiser.network
    where = next(model.denoiser.parameters()).device
    with torch.no_grad():
        first = [told[name][:1].to(where) for name in ("given", "calendar") if name in told]
        return {"side": network.side(*first).expand(len(told["given"]), -1, -1, -1)}


def _named(one: Series) -> str:
    return "the frame" if one.name is None else f"series {one.name!r}"
