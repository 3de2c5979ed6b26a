"""Windows of a table as training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.domain import Batch
from unnoise.errors import ConfigError, InputError
from unnoise.fields import configured
from unnoise.spaces import Layout
from unnoise.storage.tensors import digest
from unnoise_timeseries import kinds, masks
from unnoise_timeseries.bridge import bridge, memory_of, reach_of
from unnoise_timeseries.choice import law_of
from unnoise_timeseries.classical import features_of
from unnoise_timeseries.codec import standardised
from unnoise_timeseries.configuration import Configuration, Learned
from unnoise_timeseries.cycles import cycles_of, places
from unnoise_timeseries.foreign import pandas_of
from unnoise_timeseries.frames import FrameError, Table, matching, table
from unnoise_timeseries.law import Numbers, completed, expected
from unnoise_timeseries.loaders import load
from unnoise_timeseries.timegrad import inputs, lags_of, warm_up
from unnoise_timeseries.times import spaced
from unnoise_timeseries.windows import cut, statistics, window_starts

_COMPLETE = 4  # draws of what is missing
LONGEST = 96  # the window, when nobody says
Item = tuple[Tensor, Tensor, Mapping[str, Tensor]]
"""(measurements (L, K) float64, of any value off the targets; targets (L, K) bool; the condition of
network and codec: for CSDI that of `condition_of`, for TimeGrad "inputs" (L, F), "level" (K,))."""


def read(source: Any, configuration: Configuration) -> Table:
    """The table in `source`, as the configuration says it is read."""
    frame = load(source, configuration.time, configuration.series, configuration.columns)
    frame = spaced(pandas_of(frame), configuration.freq)
    if configuration.learned is None:
        return table(frame)
    known = configuration.known
    found = matching(frame, known.columns, known.frequency, known.aware)
    check(found, configuration)
    return found


def check(found: Table, configuration: Configuration) -> None:
    """FrameError for a value that its column cannot have, and for covariates that are missing."""
    kinds.check(found, configuration.known.supports)
    _covariates(found, configuration.covariates)


def _covariates(found: Table, covariates: Sequence[str]) -> None:
    for name in covariates:
        if name not in found.columns:
            raise ConfigError("a covariate is a column", value=name, limit=", ".join(found.columns))
        away = found.holes[:, found.columns.index(name)]
        if away.any():
            row = int(away.argmax())
            raise FrameError(
                f"the covariate {name!r} is missing, and has to be known in every row",
                value=f"row {row} ({found.frame.index[row]})",
                fix="fill it, or leave it out of covariates: then it is a variable as others are",
            )
    if len(set(covariates)) >= len(found.columns):
        raise ConfigError("every column is a covariate: nothing is left to be filled")


def configure(source: Any, options: Mapping[str, Any]) -> Configuration:
    """Complete a configuration by what the data tell: columns, statistics, frequency, window."""
    wanted = configured(Configuration, options)
    found = read(source, wanted)
    if wanted.learned is not None and wanted.window is not None and wanted.held_out is not None:
        return _again(wanted, found)
    _covariates(found, wanted.covariates)
    shortest = min(len(one.values) for one in found.series)
    held_out = 0.1 if wanted.held_out is None else wanted.held_out
    training = cut(shortest, held_out)
    extra = warm_up(wanted, found.frequency)
    if wanted.held_out is None and shortest - training < (wanted.window or 2) + extra:
        held_out, training = 0.0, shortest  # no window fits into the end
    window = wanted.window or min(LONGEST, training - extra)
    if window + extra > training or window < 2:
        raise FrameError(
            "a series has fewer rows in its training part than the window",
            value=f"{training} of {shortest} sample(s)",
            limit=f">= {window + extra}" + (f" ({extra} of them for lags)" if extra else ""),
            fix="pass a smaller window" + (", fewer lags" if extra else "") + " or held_out",
        )
    if wanted.held_out is None and shortest - training < window + extra:
        held_out = 0.0  # no window fits into the end
    elif held_out and shortest - training < window + extra:
        raise FrameError(
            "the held-out part has fewer rows than the window",
            value=f"{shortest - training} of {shortest} sample(s)",
            limit=f">= {window + extra}",
            fix="pass a larger held_out, a smaller window, or held_out=0",
        )
    parts = [one.values[: cut(len(one.values), held_out)] for one in found.series]
    mean, scale = statistics(parts, found.columns)
    allowed = kinds.kinds_of(found, wanted.kinds, wanted.bounds)
    supports, spread = kinds.supports_of(parts, allowed), ()
    if supports:
        kinds.check(found, supports)
        parts = [kinds.lines(part, supports) for part in parts]
        spread = scale
        mean, scale = statistics(parts, found.columns)
    unit = np.where(np.asarray(scale) > 0, scale, 1.0)
    scaled = [(part - np.asarray(mean)) / unit for part in parts]
    memory = memory_of(scaled)
    only, one = found.series[0], len(found.series) == 1
    dates = isinstance(only.index, pd.DatetimeIndex | pd.PeriodIndex)
    calendar, law, tried, reach = wanted.calendar, None, {}, reach_of(scaled, memory)
    indices = [one.index[: len(z)] for one, z in zip(found.series, scaled, strict=True)]
    if calendar and not dates:
        raise ConfigError("whole numbers have no calendar", value=calendar, fix="index by dates")
    if calendar is None and wanted.method == "csdi":
        calendar = cycles_of(scaled, indices)
    if wanted.classical:
        law, tried, reach = law_of(
            scaled,
            indices,
            calendar or (),
            [name not in wanted.covariates for name in found.columns],
            (wanted.horizon or max(window // 4, 1), wanted.targets == "forecasting"),
        )
    learned = Learned(
        columns=found.columns,
        mean=mean,
        scale=scale,
        frequency=found.frequency,
        aware=found.aware,
        dates=dates,
        limit=max(float(np.nanmax(np.abs(part), initial=0.0)) for part in scaled) or 1.0,
        memory=memory,
        reach=reach,
        law=law,
        tried=tried,
        supports=supports,
        spread=spread,
        last=str(only.index[cut(len(only.values), held_out) - 1]) if dates and one else "",
    )
    done = wanted.model_dump() | {
        "window": window,
        "held_out": held_out,
        "learned": learned,
        "calendar": calendar,
        "lags": lags_of(wanted, found.frequency) if wanted.method == "timegrad" else wanted.lags,
    }
    return configured(Configuration, done)


def _again(complete: Configuration, found: Table) -> Configuration:
    """A complete configuration for other data: what is measured stays, for the weights' sake."""
    only, one = found.series[0], len(found.series) == 1
    if not complete.known.dates or not one:
        return complete
    last = str(only.index[cut(len(only.values), complete.kept) - 1])
    known = complete.known.model_copy(update={"last": last})
    return complete.model_copy(update={"learned": known})


@final
class Windows(Dataset[Item]):
    """Windows of the series with fresh targets each time.

    Windows with fewer than two observed cells are left out: one is hidden, one is given. With a
    classical law cells that are missing altogether are drawn by it and given, so that every hidden
    cell has a known value; windows with less than half the usual share of known cells are left out.
    """

    def __init__(
        self, found: Table, configuration: Configuration, part: Literal["train", "validation"]
    ) -> None:
        known, length = configuration.known, configuration.length
        self.configuration = configuration
        self.measured = [one.values for one in found.series]
        self.values = [standardised(values, known) for values in self.measured]
        self.index = [one.index for one in found.series]
        self.places = [places(index, configuration.cycles) for index in self.index]
        self.law = None
        if configuration.classical:
            law = configuration.law
            self.law = Numbers.of(law)
            self.features = [features_of(index, law.waves) for index in self.index]
            self.complete = [
                completed(self.law, *own) for own in zip(self.values, self.features, strict=True)
            ]
        self.free = ~np.asarray(configuration.given)
        self.extra = warm_up(configuration, known.frequency)
        total = length + self.extra
        self.starts = [
            (k, start)
            for k, values in enumerate(self.values)
            for start in window_starts(len(values), total, configuration.kept, part)
            if _enough(np.isfinite(values[start + self.extra : start + total]), self.free)
        ]
        if self.law is not None and len(self.starts) > 1:
            known = [np.isfinite(self.values[k][s : s + total]).mean() for k, s in self.starts]
            least = np.median(known) / 2
            self.starts = [s for s, own in zip(self.starts, known, strict=True) if own >= least]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Item:
        k, start = self.starts[number]
        total = self.configuration.length + self.extra
        values = torch.from_numpy(self.values[k][start : start + total])
        x0 = torch.from_numpy(self.measured[k][start + self.extra : start + total])
        x0 = torch.nan_to_num(x0)
        if self.configuration.method == "timegrad":
            times = self.index[k][start : start + total]
            seen, level = inputs(values, times, self.configuration)
            return x0, torch.isfinite(values[self.extra :]), {"inputs": seen, "level": level}
        observed = torch.isfinite(values)
        other = observed
        if self.configuration.targets in ("historical", "mix", "any"):
            j, begin = self.starts[masks.another(number, len(self))]
            other = torch.from_numpy(np.isfinite(self.values[j][begin : begin + total]))
        target = masks.targets(
            self.configuration.targets,
            observed & torch.from_numpy(self.free),
            other,
            self.configuration.ahead,
        )
        given = observed & ~target
        told, rows = values.masked_fill(~given, 0.0), slice(start, start + total)
        around = None
        if self.law is not None:
            # what is missing is drawn by the law from all that is known, and given
            drawn = self.complete[k][int(torch.randint(_COMPLETE, ()))][rows]
            given = ~target
            told = drawn.masked_fill(target, 0.0)
            around = expected(self.law, told, given, self.features[k][rows])
        condition = _condition(told, given, self.configuration, self.places[k][rows], around)
        return x0, target, condition

    def middle(self) -> pd.DataFrame | None:
        """The window in the middle of all, with the rows before it that its lags take."""
        if not self.starts:
            return None
        k, start = self.starts[len(self) // 2]
        rows = slice(start, start + self.configuration.length + self.extra)
        columns = list(self.configuration.known.columns)
        return pd.DataFrame(self.measured[k][rows], index=self.index[k][rows], columns=columns)

    @property
    def fingerprint(self) -> str:
        """A hash of all values and of where the windows are."""
        return digest(repr(self.starts), self.values)


def _enough(observed: np.ndarray[Any, Any], free: np.ndarray[Any, Any]) -> bool:
    """One cell to hide, and one that is given."""
    return bool(observed.sum() >= 2 and observed[:, free].any())


def dataset(
    source: Any, configuration: Configuration, part: Literal["train", "validation"]
) -> Windows:
    """The windows of one part."""
    return Windows(read(source, configuration), configuration, part)


def collate(items: Sequence[Item]) -> Batch:
    """The targets are the data: everything else is padding of the layout, so that losses and
    dimensions count the targets and nothing else."""
    values = torch.stack([value for value, _, _ in items])
    target = torch.stack([mask for _, mask, _ in items])
    layout = Layout.dense(len(items), values.shape[1:], mask=target, dtype=values.dtype)
    condition = {key: torch.stack([more[key] for _, _, more in items]) for key in items[0][2]}
    return Batch(layout.zero_padding(values), layout, condition)


def condition_of(
    observed: Tensor,
    given: Tensor,
    configuration: Configuration,
    times: pd.Index[Any] | None = None,
    around: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """What CSDI is told, each (..., L, K): "observed" standardised values, zero where not "given"
    (bool); with the priors `bridge` and `classical` also "guess" and "spread", m and s, and with
    the latter "bands" (..., L, p + 1, K, K), its F; with cycles "calendar" (..., L, C), the place
    in them at `times` (L,), without which InputError. `around` is what more rows than these say of
    guess, spread and bands."""
    place = places(_needed(times), configuration.cycles) if configuration.cycles else None
    if around is None and configuration.classical:
        law = configuration.law
        features = features_of(_needed(times), law.waves)
        around = expected(Numbers.of(law), observed, given, features)
    return _condition(observed, given, configuration, place, around)


def _condition(
    observed: Tensor,
    given: Tensor,
    configuration: Configuration,
    place: Tensor | None,
    around: Mapping[str, Tensor] | None,
) -> dict[str, Tensor]:
    condition = {"observed": observed, "given": given}
    if configuration.cycles and place is not None:
        condition["calendar"] = place.expand(*observed.shape[:-1], -1)
    if around is not None:
        condition |= around
    elif configuration.bridged:
        memory = torch.tensor(configuration.known.memory)
        condition["guess"], condition["spread"] = bridge(observed, given, memory)
    return condition


def _needed(times: pd.Index[Any] | None) -> pd.Index[Any]:
    if times is None:
        raise InputError("this model needs to know the times of the rows")
    return times
