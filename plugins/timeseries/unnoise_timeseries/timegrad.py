"""TimeGrad (Rasul 2021): a recurrent network reads the past, a diffusion draws the next row.

An LSTM of 2 x 40 cells sees lagged rows, calendar features and the level of the window, and puts
out a condition of 100 numbers; the head is a dilated convolution over the variables that tells the
noise in the row that comes next. Each window is divided by its mean absolute value (mean scaling),
on top of the statistics of the training part.

After the chain of 100 steps from 1e-4 to 0.1, alpha_bar is 0.0056: x_1 is not N(0, I) but has the
mean sqrt(0.0056) E[x_0 | past]. A forecast therefore starts from the head's own estimate of that
mean (`start`), one evaluation more for each row.

What differs from the original: one noise level for all rows of a training window (the same expected
gradient), and no embedding of the variable among the recurrent inputs (it is constant: a bias).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Condition
from unnoise.domain import Plan, Task, Trained
from unnoise.errors import InputError
from unnoise.samplers import Start
from unnoise.spaces import Layout, tensor
from unnoise_timeseries.codec import limits, standardised, with_constants
from unnoise_timeseries.cycles import calendar
from unnoise_timeseries.network import sinusoids

if TYPE_CHECKING:
    from unnoise_timeseries.configuration import Configuration
    from unnoise_timeseries.frames import Series

CALENDAR = 6  # numbers of `calendar`
_SEASONS = {"min": 60, "h": 24, "D": 7, "W": 52, "M": 12, "Q": 4}
_FARTHEST = 800  # rows back of a season by default: a longer one asks for that many rows first
_SMALLEST = 1e-4  # of a mean scale


def lags_of(configuration: Configuration, frequency: str) -> tuple[int, ...]:
    """Rows back that the network sees: the last three, and one season ago (a day of hours, a week
    of days, ...)."""
    if configuration.lags is not None:
        return tuple(sorted(set(configuration.lags)))
    season = season_of(frequency)
    return tuple(sorted({1, 2, 3, *([season] if season > 1 else [])}))


def season_of(frequency: str) -> int:
    """Rows in a day, or where that is more than `_FARTHEST` in an hour or a minute (below daily
    data); in a week, or a year; 1 where there is no calendar."""
    try:
        offset = pd.tseries.frequencies.to_offset(frequency)
    except ValueError:
        return 1
    if isinstance(offset, pd.offsets.Tick):
        spans = [pd.Timedelta(days=1), pd.Timedelta(hours=1), pd.Timedelta(minutes=1)]
        rows = [round(span / pd.Timedelta(offset)) for span in spans]
        return next((n for n in rows if 1 < n <= _FARTHEST), 7 if rows[0] <= 1 else 1)
    if isinstance(offset, pd.offsets.Day):
        return 7
    name = str(offset.freqstr).lstrip("0123456789")
    return next((n for letter, n in _SEASONS.items() if name.startswith(letter)), 1)


def warm_up(configuration: Configuration, frequency: str) -> int:
    """Rows that a window needs before its first one, for lags; 0 for CSDI."""
    if configuration.method != "timegrad":
        return 0
    return max(lags_of(configuration, frequency))


def scale_of(values: Float[Tensor, "rows k"]) -> Float[Tensor, " k"]:
    """Mean absolute value of what is observed, 1 where nothing is."""
    seen = torch.isfinite(values)
    total = torch.nan_to_num(values).abs().sum(0)
    mean = total / seen.sum(0).clamp(min=1)
    return torch.where(seen.any(0) & (mean > _SMALLEST), mean, torch.ones_like(mean))


def width(configuration: Configuration, columns: int) -> int:
    """Numbers of one row of `inputs`."""
    count = len(configuration.lags or ())
    return 2 * count * columns + CALENDAR + columns


def inputs(
    values: Float[Tensor, "rows k"], times: pd.Index[Any], configuration: Configuration
) -> tuple[Float[Tensor, "window f"], Float[Tensor, " k"]]:
    """(what the recurrent network sees before each row, the mean scale) of a window; `values`
    begins with the rows for the lags."""
    lags = configuration.lags or ()
    extra = max(lags)
    scale = scale_of(values[: len(values) - configuration.ahead])  # not of the rows to forecast
    scaled = values / scale
    seen = features(scaled[None], scale, calendar(times)[extra:], lags)[0]
    return seen, scale


def features(
    scaled: Float[Tensor, "batch rows k"],
    scale: Float[Tensor, " k"],
    dates: Float[Tensor, "window c"],
    lags: Sequence[int],
) -> Float[Tensor, "batch window f"]:
    """Lagged values and whether they are observed, the calendar, log of the scale: one row for
    each of the last rows, as many as there are dates; the row itself is not looked at."""
    batch, rows, columns = scaled.shape
    window = len(dates)
    first = rows - window
    past = torch.stack([scaled[:, first - lag : rows - lag] for lag in lags], 2)
    level = scale.log().expand(batch, window, columns)
    parts = [
        torch.nan_to_num(past).flatten(2),
        torch.isfinite(past).flatten(2).float(),
        dates.expand(batch, -1, -1),
        level,
    ]
    return torch.cat(parts, -1)


@final
class Head(nn.Module):
    """eps(x_t, t | condition): gated residual convolutions over the variables, on a circle."""

    def __init__(
        self, columns: int, hidden: int, channels: int = 8, layers: int = 8, cycle: int = 2
    ) -> None:
        super().__init__()
        self.columns, self.layers, self.cycle = columns, layers, cycle
        middle = max(1, columns // 2)
        self.first = nn.Conv1d(1, channels, 1)
        self.step = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.up = nn.Sequential(
            nn.Linear(hidden, middle), nn.LeakyReLU(0.4), nn.Linear(middle, columns),
            nn.LeakyReLU(0.4),
        )  # fmt: skip
        self.steps = nn.ModuleList(nn.Linear(64, channels) for _ in range(layers))
        self.conditions = nn.ModuleList(nn.Conv1d(1, 2 * channels, 1) for _ in range(layers))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, 2 * channels, 3) for _ in range(layers)
        )
        self.outs = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 1) for _ in range(layers))
        self.skip, self.last = nn.Conv1d(channels, channels, 3), nn.Conv1d(channels, 1, 3)
        nn.init.kaiming_normal_(self.first.weight)
        nn.init.zeros_(self.last.weight)

    def forward(
        self, x: Float[Tensor, "n k"], t: Float[Tensor, " n"], h: Float[Tensor, "n c"]
    ) -> Float[Tensor, "n k"]:
        """`t` counts steps."""
        y = F.leaky_relu(self.first(x[:, None]), 0.4)
        step, up = self.step(sinusoids(t, 32)), self.up(h)[:, None]
        total = torch.zeros_like(y)
        for i in range(self.layers):
            z = y + self.steps[i](step)[..., None]
            z = self._circle(self.convolutions[i], z, 2 ** (i % self.cycle))
            gate, value = (z + self.conditions[i](up)).chunk(2, 1)
            rest, skip = self.outs[i](gate.sigmoid() * value.tanh()).chunk(2, 1)
            y, total = (y + rest) / math.sqrt(2), total + skip
        y = F.leaky_relu(self._circle(self.skip, total / math.sqrt(self.layers)), 0.4)
        return self._circle(self.last, y)[:, 0]

    def _circle(self, convolution: nn.Module, x: Tensor, dilation: int = 1) -> Tensor:
        n = x.shape[-1]
        places = torch.arange(-dilation, n + dilation, device=x.device) % n
        wide = x[..., places]  # circular padding, which torch refuses where it is wider than x
        assert isinstance(convolution, nn.Conv1d)
        return F.conv1d(wide, convolution.weight, convolution.bias, dilation=dilation)


@final
class TimeGrad(nn.Module):
    """The recurrent network and the head."""

    def __init__(
        self, columns: int, features: int, cells: int = 40, hidden: int = 100, chain: int = 100
    ) -> None:
        super().__init__()
        self.chain = chain
        self.recurrent = nn.LSTM(features, cells, num_layers=2, dropout=0.1, batch_first=True)
        self.condition = nn.Linear(cells, hidden)
        self.head = Head(columns, hidden)

    def read(
        self, seen: Float[Tensor, "batch rows f"], memory: Any = None
    ) -> tuple[Float[Tensor, "batch rows c"], Any]:
        """(the condition after each row, the memory after the last)."""
        out, memory = self.recurrent(seen, memory)
        return self.condition(out), memory

    def forward(
        self, x: Tensor, t: Float[Tensor, " batch"], layout: Layout, condition: Condition = None
    ) -> Float[Tensor, "batch rows k"]:
        """The noise in each row. `condition` has "inputs" (B, L, F), or "hidden" (B, L, C)."""
        if condition is None:
            raise InputError("TimeGrad needs to know the past: pass inputs or hidden")
        h = condition["hidden"] if "hidden" in condition else self.read(condition["inputs"])[0]
        batch, rows, columns = x.shape
        steps = (t * self.chain).repeat_interleave(rows)
        out = self.head(x.reshape(-1, columns), steps, h.reshape(batch * rows, -1))
        return layout.zero_padding(out.view(batch, rows, columns))


def forecast(one: Series, horizon: int, times: pd.Index[Any], model: Trained, samples: int) -> Plan:
    """A plan: rows are drawn one after the other, each given those before.

    Returns float64 (samples, horizon, columns). `times` are those of the new rows.
    """
    configuration: Configuration = model.configuration
    known, lags, window = configuration.known, configuration.lags or (), configuration.length
    network: Any = model.denoiser.network
    device = next(model.denoiser.parameters(), torch.empty(0)).device
    need = window + max(lags)
    if len(one.values) < need:
        raise InputError(
            "a series has fewer rows than the model reads before it forecasts",
            value=len(one.values),
            limit=f">= {need}",
        )
    past = torch.from_numpy(standardised(one.values[-need:], known))
    scale, size = scale_of(past), samples
    dates = calendar(one.index[-window:].append(times))
    history = (past / scale)[None]  # grows by a row at a time
    with torch.no_grad():
        seen = features(history, scale, dates[:window], lags).to(device)
        # the rows before the first new one are the same for all samples: read once
        _, memory = network.read(seen)
    memory = _repeated(memory, size)
    history = history.expand(size, -1, -1)
    layout = Layout.dense(size, (1, past.shape[1]))
    for step in range(horizon):
        row = torch.full((size, 1, past.shape[1]), math.nan)
        history = torch.cat([history, row], 1)
        with torch.no_grad():
            now = features(history, scale, dates[window + step : window + step + 1], lags)
            hidden, memory = network.read(now.to(device), memory)
            condition = {"hidden": hidden}
            begin = start(model, layout, condition)
        state = yield Task(layout, condition, start=begin, evaluations=1)
        assert isinstance(state, Tensor)
        history = torch.cat([history[:, :-1], state], 1)
    whole = Layout.dense(size, (horizon, past.shape[1]))
    made = tensor(model.decode(history[:, need:], whole, {"level": scale.expand(size, -1)}))
    if known.supports:  # exp of a sample that has gone astray
        bounded = torch.tensor([not own.plain for own in known.supports])
        made = torch.where(bounded, made.clamp(*limits(known, math.inf)), made)
    return list(with_constants(made.numpy(), known))


def start(model: Trained, layout: Layout, condition: Condition) -> Start:
    """x_1 ~ N(alpha_1 m, sigma_1^2) with m the head's mean of x_0 where the state says nothing:
    E[x_0 | x_1 = 0], which is E[x_0] up to a part alpha_1^2 Var[x_0]."""
    where = next(model.denoiser.parameters(), torch.empty(0)).device
    layout = layout.to(where)
    nothing = torch.zeros(layout.shape, device=where)
    mean = model.denoiser(nothing, 1.0, layout, condition).mean
    assert isinstance(mean, Tensor)
    return Start(mean, 1.0)


def _repeated(memory: Any, size: int) -> Any:
    """A memory of one sample for all; a recurrent network other than an LSTM may have any."""
    if memory is None:
        return None
    return tuple(part.expand(-1, size, -1).contiguous() for part in memory)
