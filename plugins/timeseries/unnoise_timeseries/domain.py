"""The time-series domain: x_0 is the hidden cells of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
import pandas as pd
from pydantic import BaseModel

from unnoise.codecs import Codec
from unnoise.denoise import Denoiser, NetworkDenoiser, Noise, V
from unnoise.display import Display
from unnoise.domain import Batch, Draw, Plan, Trainable, Trained
from unnoise.engine.options import Options
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import BetaTable, GaussianKernel
from unnoise.model import Metric
from unnoise.objectives import DataType
from unnoise.spaces import Euclidean
from unnoise_timeseries import EXAMPLE, data, files
from unnoise_timeseries.codec import Measurements, codec_of, with_constants
from unnoise_timeseries.configuration import Configuration
from unnoise_timeseries.evaluation import Forecasting, Imputation
from unnoise_timeseries.foreign import pandas_of
from unnoise_timeseries.frames import Filled, Series, Table, extended, filled, matching
from unnoise_timeseries.imputation import ROOM, impute
from unnoise_timeseries.loaders import load
from unnoise_timeseries.network import CSDI
from unnoise_timeseries.plots import page
from unnoise_timeseries.request import Request
from unnoise_timeseries.standard import StandardNormal
from unnoise_timeseries.timegrad import TimeGrad, forecast, width
from unnoise_timeseries.times import continued, spaced


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """The table of a request, with rows to be filled, and the rows to be forecast after it."""

    given: Table
    horizon: int


@final
class Frames(Display[Trained]):
    """Bands around the known values, and one table beside the samples."""

    look: ClassVar[str] = (
        "The bands widen into a gap and close at its ends: that is how sure the model is, hour "
        "by hour."
    )

    def gather(self, groups: Sequence[Sequence[Path]], folder: Path) -> Sequence[Path]:
        """filled.csv (the median), quantiles.csv and filled.png beside the samples."""
        return files.gather([path for group in groups for path in group], folder)

    def preview(self, samples: Sequence[Filled]) -> str:
        return page(samples)


@final
class TimeSeries(Trainable):
    """Data frames whose missing cells are filled and which are continued; samples are frames."""

    name: ClassVar[str] = "timeseries"
    Request: ClassVar[type[BaseModel]] = Request
    Configuration: ClassVar[type[BaseModel]] = Configuration
    bundle: ClassVar[Path | None] = Path(__file__).parent / "bundle"
    display: ClassVar[Display[Trained]] = Frames()
    demo: ClassVar[Mapping[str, Any]] = {"data": str(EXAMPLE), "num_samples": 16}
    metrics: ClassVar[Mapping[str, type[Metric]]] = {
        "imputation": Imputation,
        "forecasting": Forecasting,
    }

    def defaults(self, configuration: Configuration) -> Mapping[str, Any]:
        if configuration.layers == 0:
            return {"steps": 1, "sampler": "ancestral"}
        return {"steps": 15, "sampler": "unipc", "grid": "quadratic"}

    def configure(self, source: Any, options: Mapping[str, Any]) -> Configuration:
        """Columns, statistics of the training part, frequency and window from the data."""
        return data.configure(source, options)

    def build(self, configuration: Configuration) -> Denoiser:
        parametrization = Noise() if configuration.parametrization == "noise" else V()
        clip = None
        if configuration.method == "csdi":
            known = configuration.known
            limit = ROOM * (known.reach if configuration.bridged else known.limit)
            clip = (-limit, limit)
        kernel = kernel_of(configuration)
        if configuration.layers == 0:
            return StandardNormal(kernel)
        return NetworkDenoiser(_network(configuration), kernel, parametrization, clip=clip)

    def check_start(self, configuration: Configuration, initial: Trained | None) -> None:
        if configuration.layers == 0:
            raise ConfigError(
                "without layers there is no network to train",
                value="layers=0",
                fix="DiffusionImputer().fit(frame).model_.save(folder) keeps a classical law alone",
            )

    def codec(self, configuration: Configuration) -> Codec:
        return codec_of(configuration)

    def trial(
        self, configuration: Configuration, held_out: data.Windows
    ) -> Mapping[str, Any] | None:
        """The last quarter of a held-out window from the rest, or by TimeGrad what follows it;
        nothing where no window is held out."""
        frame, rows = held_out.middle(), max(1, configuration.length // 4)
        if frame is None:
            return None
        if configuration.covariates:
            ahead = np.arange(len(frame))[:, None] >= len(frame) - rows
            hidden = frame.mask(ahead & ~np.asarray(configuration.given))
            return {"data": hidden, "num_samples": 16}
        given = frame[:-rows] if configuration.method == "csdi" else frame
        return {"data": given, "horizon": rows, "num_samples": 16}

    def data_type(self, configuration: Configuration) -> DataType:
        return Measurements()

    def dataset(
        self, source: Any, configuration: Configuration, part: Literal["train", "validation"]
    ) -> data.Windows:
        return data.dataset(source, configuration, part)

    def collate(self, items: Sequence[data.Item]) -> Batch:
        return data.collate(items)

    def prepare(self, request: Request, model: Trained, options: Options) -> list[Prepared]:
        """The table, read once."""
        given = table_of(request, model.configuration)
        if model.configuration.method == "csdi":
            return [Prepared(extended(given, request.horizon), request.horizon)]
        return [Prepared(given, request.horizon)]

    def plan(self, inputs: Sequence[Prepared], model: Trained, draws: Sequence[Draw]) -> Plan:
        (prepared,) = inputs
        if model.configuration.method == "csdi":
            return (yield from _filled(prepared.given, model, len(draws)))
        return (yield from _continued(prepared.given, prepared.horizon, model, len(draws)))

    def write(self, sample: Filled, folder: Path, stem: str) -> Path:
        return files.write(sample, folder, stem)


def kernel_of(configuration: Configuration) -> GaussianKernel:
    """The noise of the method: quadratic 1e-4 .. 0.5 (CSDI), linear 1e-4 .. 0.1 (TimeGrad)."""
    chain = configuration.steps
    if configuration.method == "csdi":
        return GaussianKernel(Euclidean(), BetaTable.quadratic(chain))
    return GaussianKernel(Euclidean(), BetaTable.linear(chain, 1e-4, 0.1))


def table_of(request: Request, configuration: Configuration) -> Table:
    """The table of a request, which must be like the one that the model was fitted to.

    Raises InputError and FrameError: see `unnoise_timeseries.frames`; a horizon below 0, or above
    nothing to do.
    """
    known, horizon = configuration.known, request.horizon
    frame = load(
        request.data,
        configuration.time if request.time is None else request.time,
        configuration.series if request.series is None else request.series,
        configuration.columns,
    ) if isinstance(request.data, str | Path) else request.data  # fmt: skip
    frame = spaced(pandas_of(frame), configuration.freq if request.freq is None else request.freq)
    found = matching(frame, known.columns, known.frequency, known.aware)
    data.check(found, configuration)
    if horizon > 0 and configuration.covariates:
        raise InputError(
            "the covariates of the rows to forecast are not known",
            value=f"horizon={horizon}",
            fix="append the rows, all other columns empty, and leave the horizon out",
        )
    if horizon < 0:
        raise InputError("a horizon is a number of rows", value=horizon, limit=">= 0")
    if configuration.method == "timegrad" and horizon < 1:
        raise InputError(
            "a TimeGrad model forecasts: it needs a horizon",
            value=horizon,
            limit=">= 1",
            fix="pass horizon=, or fill holes with a CSDI model",
        )
    for one in found.series:
        where = "" if one.name is None else f" of series {one.name!r}"
        if np.isnan(one.values).all():
            raise InputError(f"every value{where} is missing: nothing is known")
        if configuration.method == "timegrad" and len(one.values) < configuration.length:
            raise InputError(
                f"there are fewer rows{where} than the model's window",
                value=len(one.values),
                limit=f">= {configuration.length}",
                fix="fit a model with a smaller window",
            )
    return found


def _network(configuration: Configuration) -> CSDI | TimeGrad:
    columns, own = len(configuration.known.columns), configuration
    if own.method == "csdi":
        return CSDI(
            columns,
            channels=own.channels,
            layers=own.layers,
            heads=own.heads,
            time=own.time_width,
            feature=own.feature_width,
            step=own.step_width,
            chain=own.steps,
            dropout=own.dropout,
            bridged=own.bridged,
            calendar=2 * len(own.cycles),
        )
    return TimeGrad(columns, width(own, columns), own.cells, own.hidden, own.steps)


def _filled(given: Table, model: Trained, samples: int) -> Plan:
    """Every series of a table, one after the other."""
    holes = given.holes
    made = [np.zeros(holes.shape) for _ in range(samples)]
    for one in given.series:
        if not np.isnan(one.values).any():
            continue
        length = model.configuration.length if model.configuration.layers else 0
        whole = _windowful(one, length, given.frequency)
        drawn = yield from impute(whole, model, samples)
        rows, columns = np.nonzero(np.isnan(one.values))
        for full, sample in zip(made, drawn, strict=True):
            full[one.rows[rows], columns] = sample[: len(rows)]
    made = [with_constants(full, model.configuration.known) for full in made]
    return [filled(given, full[holes], holes) for full in made]


def _windowful(one: Series, length: int, frequency: str) -> Series:
    """The series with so many unknown rows after its last one that a window fits."""
    more = length - len(one.values)
    if more <= 0:
        return one
    empty = np.full((more, one.values.shape[1]), np.nan)
    index = one.index.append(continued(one.index, more, frequency))
    return replace(one, values=np.concatenate([one.values, empty]), index=index)


def _continued(given: Table, horizon: int, model: Trained, samples: int) -> Plan:
    """The rows after the last one, alone."""
    pieces: list[list[pd.DataFrame]] = [[] for _ in range(samples)]
    for one in given.series:
        times = continued(one.index, horizon, given.frequency)
        drawn = yield from forecast(one, horizon, times, model, samples)
        if one.name is not None:
            times = pd.MultiIndex.from_product([[one.name], times], names=given.frame.index.names)
        for own, sample in zip(pieces, drawn, strict=True):
            own.append(pd.DataFrame(sample, index=times, columns=given.frame.columns))
    found = []
    for own in pieces:
        whole = Filled(pd.concat(own))
        whole.holes = np.ones(whole.shape, dtype=bool)
        found.append(whole)
    return found
