"""What a model of time series is: method, window, network, targets. Stored in the bundle."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unnoise.errors import ConfigError
from unnoise.specs import FromData, Only
from unnoise_timeseries.cycles import Cycle
from unnoise_timeseries.kinds import Kind, Support
from unnoise_timeseries.law import Law
from unnoise_timeseries.masks import Strategy

Lag: TypeAlias = Annotated[int, Field(ge=1, le=10**6)]
CSDI: Final = Only("method", ("csdi",))


class Learned(BaseModel):
    """What the data told, so that a bundle needs none.

    Attributes
    ----------
    columns : names of the variables, in order.
    mean, scale : of each, over the observed cells of the training part; scale 0 of a constant. Of
        the numbers on the line of its support.
    spread : standard deviation of each in its own units; () where that is `scale`.
    supports : what the numbers of each column may be; () where they may be any.
    frequency : of the index.
    aware : whether times carry a time zone.
    dates : whether the index holds dates, which have a calendar.
    last : the last time of the training part, of one series with dates; else empty.
    limit : largest |z| of the training part, to which samples are clamped with some room.
    memory : of each column, its correlation with the row before; see `unnoise_timeseries.bridge`.
    reach : largest |u| of a cell between two given neighbours, in units of its spread; with a law
        that of a cell that was hidden from it.
    law : the classical law of the columns, with the prior `classical`.
    tried : (mean CRPS of single hidden cells, of hidden runs) of each law that was tried, by name,
        in standard deviations.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    frequency: str
    aware: bool
    dates: bool
    last: str = ""
    limit: float = Field(gt=0)
    memory: tuple[float, ...] = ()
    reach: float = Field(1.0, gt=0)
    supports: tuple[Support, ...] = ()
    spread: tuple[float, ...] = ()
    law: Law | None = None
    tried: dict[str, tuple[float, float]] = Field(default_factory=dict)

    @property
    def units(self) -> tuple[float, ...]:
        """Standard deviation of each column in its own units, 1 of a constant."""
        return tuple(s if s > 0 else 1.0 for s in self.spread or self.scale)


class Configuration(BaseModel):
    """Options of `unnoise train timeseries`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: Literal["csdi", "timegrad"] = Field(
        "csdi",
        description="csdi fills holes and forecasts; timegrad forecasts only, row by row",
    )
    time: str | tuple[str, ...] | None = Field(
        None, description="the column of times in a file, or its year, month, day and hour columns"
    )
    series: str | None = Field(None, description="the column that names the series of a panel")
    freq: str | None = Field(
        None, description="put in the rows that are missing altogether: h, 10min, D, ..; or a step"
    )
    columns: tuple[str, ...] | None = Field(
        None, description="the variables of a file; default: all its columns of numbers"
    )
    kinds: dict[str, Kind] = Field(
        default_factory=dict,
        description="what the numbers of a column are: count, non-negative, share (of 0 to 1),"
        " integer or plain; default: by its dtype",
    )
    bounds: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict, description="of a column, low high; either may be none"
    )
    calendar: Annotated[tuple[Cycle, ...] | None, CSDI] = Field(
        None,
        description="csdi: the cycles of time that the network is told its place in: day, week,"
        " year; default: those that the training part shows",
    )
    covariates: tuple[str, ...] = Field(
        (),
        description="csdi: columns that are known in every row, such as holidays: given, and never"
        " hidden",
    )
    window: int | None = Field(
        None, ge=2, le=4096, description="rows that the network sees at once; default: up to 96"
    )
    overlap: Annotated[int | None, CSDI] = Field(
        None, ge=0, description="rows that neighbouring windows share; default: half a window"
    )
    held_out: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of each series, its end, that is kept for validation; default: 0.1, or"
        " nothing where that is shorter than a window",
    )
    targets: Annotated[Strategy, CSDI] = Field(
        "any",
        description="what is hidden in training: random cells, the pattern of another window"
        " (historical), either of them (mix, as in the paper), a block of rows, any of the three,"
        " or the last rows (forecasting)",
    )
    horizon: Annotated[int | None, CSDI, Only("targets", ("forecasting",))] = Field(
        None,
        ge=1,
        description="rows hidden by the targets forecasting; default: a quarter of a window",
    )
    parametrization: Literal["noise", "v"] = Field(
        "v", description="what the network predicts; noise in both papers"
    )
    prior: Annotated[Literal["classical", "bridge", "standard"], CSDI] = Field(
        "classical",
        description="csdi: what noise becomes. classical: draws of a linear law of all columns,"
        " chosen by what it says of known cells that are hidden from it; bridge: each cell counts"
        " from what its neighbours in time say; standard: N(0, 1), as in the paper",
    )
    chain: int | None = Field(
        None, ge=2, le=10_000, description="T; default: 50 for csdi, 100 for timegrad"
    )

    channels: Annotated[int, CSDI] = Field(
        64, ge=2, le=16_384, description="csdi: width of the residual layers"
    )
    layers: Annotated[int, CSDI] = Field(
        4,
        ge=0,
        le=1024,
        description="csdi: residual layers; 0 for no network: the classical law alone",
    )
    heads: Annotated[int, CSDI] = Field(8, ge=1, le=1024, description="csdi: of attention")
    time_width: Annotated[int, CSDI] = Field(
        128, ge=2, le=16_384, description="csdi: embedding of the place in the window"
    )
    feature_width: Annotated[int, CSDI] = Field(
        16, ge=1, le=16_384, description="csdi: embedding of the variable"
    )
    step_width: Annotated[int, CSDI] = Field(
        128, ge=2, le=16_384, description="csdi: embedding of the step"
    )
    dropout: Annotated[float, CSDI] = Field(
        0.0, ge=0, lt=1, description="csdi: of the transformers; 0.1 in the reference"
    )

    cells: Annotated[int, Only("method", ("timegrad",))] = Field(
        40, ge=1, le=16_384, description="timegrad: width of its two LSTM layers"
    )
    hidden: Annotated[int, Only("method", ("timegrad",))] = Field(
        100, ge=1, le=16_384, description="timegrad: width of the condition"
    )
    lags: Annotated[tuple[Lag, ...] | None, Only("method", ("timegrad",))] = Field(
        None,
        min_length=1,
        max_length=1000,
        description="timegrad: earlier rows that it sees; default: by the frequency",
    )

    learned: Annotated[Learned | None, FromData()] = None

    @model_validator(mode="after")
    def _fits(self) -> Configuration:
        if self.covariates and self.method == "timegrad":
            raise ValueError("covariates are of csdi; timegrad reads the calendar alone")
        if self.layers == 0 and (self.method, self.prior) != ("csdi", "classical"):
            raise ValueError("without a network there has to be a classical law: prior=classical")
        if self.channels % self.heads:
            raise ValueError("channels is a multiple of heads")
        if self.time_width % 2 or self.step_width % 2:
            raise ValueError("embeddings of numbers are pairs of sin and cos: an even width")
        if self.overlap is not None and self.window is not None and self.overlap >= self.window:
            raise ValueError("overlap is smaller than the window")
        if self.horizon is not None and self.window is not None and self.horizon >= self.window:
            raise ValueError("horizon is smaller than the window")
        return self

    @property
    def known(self) -> Learned:
        """What the data told, of a completed configuration."""
        if self.learned is None:
            raise ConfigError(
                "the configuration knows no data", fix="complete it with TimeSeries().configure"
            )
        return self.learned

    @property
    def bridged(self) -> bool:
        """Whether the state counts from what is known of a cell."""
        return self.method == "csdi" and self.prior != "standard"

    @property
    def classical(self) -> bool:
        """Whether it counts from a law of all columns."""
        return self.method == "csdi" and self.prior == "classical"

    @property
    def law(self) -> Law:
        """The classical law of a completed configuration."""
        if self.known.law is None:
            raise ConfigError(
                "the configuration has no classical law",
                fix="complete it with TimeSeries().configure, or pass prior='bridge'",
            )
        return self.known.law

    @property
    def cycles(self) -> tuple[Cycle, ...]:
        """Of time, that CSDI is told of; a completed configuration."""
        return (self.calendar or ()) if self.method == "csdi" else ()

    @property
    def given(self) -> list[bool]:
        """Whether each column is a covariate, of a completed configuration."""
        return [name in self.covariates for name in self.known.columns]

    @property
    def length(self) -> int:
        """The window of a completed configuration."""
        if self.window is None:
            raise ConfigError("the configuration has no window", fix="pass window=")
        return self.window

    @property
    def kept(self) -> float:
        """The share of each series that is held out, of a completed configuration."""
        return self.held_out or 0.0

    @property
    def shared(self) -> int:
        """Rows that neighbouring windows share."""
        return self.length // 2 if self.overlap is None else self.overlap

    @property
    def ahead(self) -> int:
        """Rows hidden by the targets forecasting."""
        return max(self.length // 4, 1) if self.horizon is None else self.horizon

    @property
    def steps(self) -> int:
        """T."""
        return self.chain or (50 if self.method == "csdi" else 100)
