"""Filling a series with CSDI: window after window, each given what the ones before it made.

With a classical law each window counts from what the whole neighbourhood says of it: the law is
conditioned on what was made before the window's fresh rows, and on what is known up to `AHEAD` rows
past its end. Without a network the whole series is one window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor
from torch.nn import functional as F

from unnoise.denoise import Denoiser, NetworkDenoiser
from unnoise.denoise.wrapped import Wrapper
from unnoise.domain import Plan, Task, Trained
from unnoise.errors import InputError
from unnoise.spaces import Layout, tensor
from unnoise.windows import Segment, segments
from unnoise_timeseries.classical import features_of
from unnoise_timeseries.codec import limits, scaled
from unnoise_timeseries.configuration import Configuration
from unnoise_timeseries.data import condition_of
from unnoise_timeseries.frames import Series
from unnoise_timeseries.law import Numbers, expected
from unnoise_timeseries.network import CSDI

ROOM: Final = 1.5
"""Predictions may leave the range of the training data by half of it: at t = 1 an error of the
noise is 170 times as large in x_0, and a deterministic sampler would follow it."""
AHEAD: Final = 256
"""Rows past a window that its law is told of."""


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
    number = missing.flatten().cumsum(0).view(missing.shape) - 1
    made = torch.zeros(samples, int(missing.sum()), dtype=torch.float64)
    filling = _Filling(one, values, missing, number, made, configuration)
    if configuration.layers == 0:
        parts = [Segment(0, len(values), 0, len(values))]
    else:
        parts = segments(len(values), configuration.length, configuration.shared)
    for part in parts:
        if not bool(missing[part.fresh : part.keep].any()):
            continue
        layout, told = filling.window(part)
        seen = {name: value for name, value in told.items() if name != "bands"}  # the codec's alone
        state = yield Task(layout, seen | _encoded(told, model))
        found = tensor(model.decode(state, layout, told)).clamp(low, high)
        kept = slice(part.fresh - part.start, part.keep - part.start)
        here = missing[part.fresh : part.keep]
        made[:, number[part.fresh : part.keep][here]] = found[:, kept][:, here]
    return list(made)


@final
@dataclass(frozen=True, eq=False)
class _Filling:
    """A series (n, K) on its way: `number` of each hole in `made` (samples, holes)."""

    one: Series
    values: Tensor
    missing: Tensor
    number: Tensor
    made: Tensor
    configuration: Configuration

    def window(self, part: Segment) -> tuple[Layout, dict[str, Tensor]]:
        """The layout of a window's holes, and what network and codec are told."""
        z, target = self._rows(part.start, part.end, part.fresh)
        size, configuration = len(self.made), self.configuration
        layout = Layout.dense(size, target.shape, mask=target.expand(size, -1, -1))
        around = self._around(part, z) if configuration.classical else None
        times = self.one.index[part.start : part.end]
        given = (~target).expand(size, -1, -1)
        return layout, condition_of(z, given, configuration, times, around)

    def _rows(self, start: int, stop: int, fresh: int) -> tuple[Tensor, Tensor]:
        """z (samples, n, K) of rows, 0 where unknown, and the holes (n, K) that are: those from row
        `fresh` on."""
        rows = slice(start, stop)
        unknown = self.missing[rows].clone()
        unknown[: max(0, fresh - start)] = False
        observed = self.values[rows].expand(len(self.made), -1, -1)
        before = self.missing[rows] & ~unknown
        if bool(before.any()):
            observed = observed.clone()
            observed[:, before] = self.made[:, self.number[rows][before]]
        return torch.nan_to_num(scaled(observed, self.configuration.known)), unknown

    def _around(self, part: Segment, z: Tensor) -> dict[str, Tensor]:
        """Guess, spread and bands of a window, by its neighbourhood; the bands are one for all
        samples."""
        law = self.configuration.law
        numbers = Numbers.of(law)
        begin = max(0, part.fresh - numbers.lags)
        stop = min(len(self.values), part.end + AHEAD)
        near, unknown = self._rows(begin, stop, part.fresh)
        features = features_of(self.one.index[begin:stop], law.waves)
        # where nothing was made before, all samples are told the same
        alike = part.fresh == 0 or not bool(self.missing[begin : part.fresh].any())
        found = expected(numbers, near[:1] if alike else near, ~unknown, features)
        lead, size = part.fresh - part.start, len(self.made)
        own = slice(part.fresh - begin, part.end - begin)
        guess = found["guess"][:, own].expand(size, -1, -1)
        spread = F.pad(found["spread"][own], (0, 0, lead, 0))
        bands = F.pad(found["bands"][own], (0, 0, 0, 0, 0, 0, lead, 0))
        bands[:lead, 0] = torch.eye(numbers.columns)
        return {
            "guess": torch.cat([z[:, :lead], guess], 1),
            "spread": spread.expand(size, -1, -1),
            "bands": bands.expand(size, -1, -1, -1, -1),
        }


def _encoded(told: dict[str, Tensor], model: Trained) -> dict[str, Tensor]:
    """What is given, as the network takes it: encoded once for all samples and all steps."""
    network = _network(model.denoiser)
    if network is None:
        return {}
    where = next(model.denoiser.parameters()).device
    with torch.no_grad():
        first = [told[name][:1].to(where) for name in ("given", "calendar") if name in told]
        return {"side": network.side(*first).expand(len(told["given"]), -1, -1, -1)}


def _network(denoiser: Denoiser) -> CSDI | None:
    if isinstance(denoiser, Wrapper):
        return _network(denoiser.denoiser)
    if isinstance(denoiser, NetworkDenoiser) and isinstance(denoiser.network, CSDI):
        return denoiser.network
    return None


def _named(one: Series) -> str:
    return "the frame" if one.name is None else f"series {one.name!r}"
