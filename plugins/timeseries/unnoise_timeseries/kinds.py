"""What the numbers of a column may be, and the map of them to the whole line.

    plain         w = x
    above a       w = log (y - a)                      y > a
    below b       w = -log (b - y)                     y < b
    between       w = log (y - a) - log (b - y)        a < y < b

with y = x, but where the law of x has masses in place of a density, and y is drawn evenly from the
bin of x, which x is read off again:

    whole numbers     y in (x - 1/2, x + 1/2),   x = y rounded,      a, b = bounds -+ 1/2;
    at a bound        y in (a, a + edge),        x = a below its end; so at b.

The edge is what lies nearest to the bound in the training part, where values at the bound itself
are among it (a detection limit: rain of 0, or 0.1 and more), and a thousandth of it where not.
So -log p(x) <= E_y [-log p(w) - log dw/dy - log width of the bin], a log probability of what has
mass and a log density of the rest, both in the data's units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pandas.api import types
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from unnoise.codecs import Codec, Encoded
from unnoise.codecs.base import check_data
from unnoise.denoise import Condition
from unnoise.distributions import Dirac, Distribution
from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, tensor
from unnoise_timeseries.frames import FrameError, Table
from unnoise_timeseries.windows import Values

Kind: TypeAlias = Literal["plain", "integer", "count", "non-negative", "share"]
_BOUNDS: Final[Mapping[str, tuple[float | None, float | None]]] = {
    "count": (0.0, None),
    "non-negative": (0.0, None),
    "share": (0.0, 1.0),
}
_CLOSER = 1e-3  # of the smallest distance to a bound: as good as at it
_TINY = 1e-9  # of a bin: draws keep off its ends
_ROOM = 0.5  # of the range of the training part, by which samples may leave it


@final
class Support(BaseModel):
    """Of one column.

    Attributes
    ----------
    whole : whether it holds whole numbers.
    low, high : its bounds, which it may touch; None for none.
    low_edge, high_edge : widths of the bins at them.
    least, most : what is believed of a sample: the range of the training part, and half as much.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    whole: bool = False
    low: float | None = None
    high: float | None = None
    low_edge: float = 0.0
    high_edge: float = 0.0
    least: float | None = None
    most: float | None = None

    @property
    def plain(self) -> bool:
        return not self.whole and self.low is None and self.high is None


def kinds_of(
    found: Table, kinds: Mapping[str, Kind], bounds: Mapping[str, Sequence[float | None]]
) -> list[tuple[Kind, float | None, float | None]]:
    """(kind, low, high) of each column: as is said, and otherwise by the dtype. Nullable whole
    numbers are `integer`, those without a sign `count` within what the dtype holds.

    Raises ConfigError for columns that are not there, and bounds that hold nothing.
    """
    for name in [*kinds, *bounds]:
        if name not in found.columns:
            raise ConfigError(
                "kinds and bounds are of columns", value=name, limit=", ".join(found.columns)
            )
    result = []
    for name, dtype in zip(found.columns, found.frame.dtypes, strict=True):
        kind = kinds.get(name)
        low, high = bounds.get(name, _BOUNDS.get(kind or "", (None, None)))
        if kind is None:
            kind = _by_dtype(dtype)
            if kind == "count" and name not in bounds:
                own = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
                low, high = 0.0, float(own.max)
        if low is not None and high is not None and not low < high:
            raise ConfigError(f"the bounds of {name!r} hold nothing", value=(low, high))
        result.append((kind, low, high))
    return result


def _by_dtype(dtype: Any) -> Kind:
    if types.is_unsigned_integer_dtype(dtype):
        return "count"
    nullable = isinstance(dtype, pd.api.extensions.ExtensionDtype)
    return "integer" if nullable and types.is_integer_dtype(dtype) else "plain"


def supports_of(
    parts: Sequence[Values], wanted: Sequence[tuple[Kind, float | None, float | None]]
) -> tuple[Support, ...]:
    """The support of each column, its edges by the training part; () when all are plain, and a
    constant column is."""
    values = np.concatenate(list(parts))
    found = []
    for j, (kind, low, high) in enumerate(wanted):
        column = values[:, j][np.isfinite(values[:, j])]
        whole = kind in ("integer", "count")
        plain = not whole and low is None and high is None
        if plain or not len(column) or column.min() == column.max():
            found.append(Support())
            continue
        room = _ROOM * (column.max() - column.min())
        least, most = column.min() - room, column.max() + room
        found.append(
            Support(
                whole=whole,
                low=low,
                high=high,
                low_edge=0.0 if whole or low is None else _edge(column - low),
                high_edge=0.0 if whole or high is None else _edge(high - column),
                least=float(least if low is None else max(least, low)),
                most=float(most if high is None else min(most, high)),
            )
        )
    return () if all(one.plain for one in found) else tuple(found)


def _edge(distance: np.ndarray[Any, Any]) -> float:
    away = distance[distance > 0]
    nearest = float(away.min()) if len(away) else 1.0
    # a little less than it: low + (x - low) may be above x by a last bit
    return nearest * ((1 - _TINY) if len(away) < len(distance) else _CLOSER)


def check(found: Table, supports: Sequence[Support]) -> None:
    """FrameError for a value that its column cannot have, naming column and row."""
    for j, own in enumerate(supports):
        for one in found.series if not own.plain else ():
            x = one.values[:, j]
            outside = (x < (-math.inf if own.low is None else own.low)) | (
                x > (math.inf if own.high is None else own.high)
            )
            broken = (x != np.rint(x)) & np.isfinite(x) if own.whole else outside
            bad = outside | broken
            if bad.any():
                row = int(bad.argmax())
                raise FrameError(
                    f"column {found.columns[j]!r} has a value that its kind and bounds do not"
                    " allow",
                    value=f"{x[row]:g} at row {int(one.rows[row])} ({one.index[row]})",
                    limit=("whole numbers " if own.whole else "") + f"from {own.low} to {own.high}",
                    fix="correct it, or pass other kinds or bounds",
                )


def lines(x: Values, supports: Sequence[Support]) -> Values:
    """w, float64, of measurements (rows, columns), y in the middle of its bin; NaN stays."""
    layout = Layout.dense(len(x), x.shape[1:], dtype=torch.float64)
    return tensor(Supported(supports).embed(torch.from_numpy(x), layout)[0]).numpy()


@final
class Supported(Codec):
    """Columns (the last axis) as numbers of the whole line. Without noise y is the middle of its
    bin.

    Parameters
    ----------
    supports : of each column.
    """

    def __init__(self, supports: Sequence[Support]) -> None:
        super().__init__()
        self.supports = tuple(supports)
        ends: dict[str, list[float]] = {
            "low": [-math.inf if s.low is None else s.low for s in supports],
            "high": [math.inf if s.high is None else s.high for s in supports],
            "low_edge": [s.low_edge for s in supports],
            "high_edge": [s.high_edge for s in supports],
            "radius": [0.5 * s.whole for s in supports],
        }
        for name, value in ends.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)

    low: Tensor
    high: Tensor
    low_edge: Tensor
    high_edge: Tensor
    radius: Tensor

    @property
    def invertible(self) -> bool:
        return False

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        check_data(x, layout)
        y, width = self._drawn(tensor(x), layout, noise)
        below, above = self._distances(y)
        left, right = torch.isfinite(below), torch.isfinite(above)
        slope = torch.zeros_like(y)
        slope = slope - torch.where(left, below.log(), 0.0) - torch.where(right, above.log(), 0.0)
        slope = slope + torch.where(left & right, (below + above).log(), 0.0)
        bins = torch.where(width > 0, width, 1.0).log()
        return Encoded(
            layout.zero_padding(self._line(y).to(layout.dtype)),
            layout,
            layout.sum(slope + bins).double(),
        )

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[State, Layout]:
        y, _ = self._drawn(tensor(x), layout, noise)
        return layout.zero_padding(self._line(y).to(layout.dtype)), layout

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        w = tensor(z).double()
        left, right = torch.isfinite(self._begin), torch.isfinite(self._end)
        span = torch.where(left & right, self._end - self._begin, 1.0)
        begin, end = torch.where(left, self._begin, 0.0), torch.where(right, self._end, 0.0)
        y = torch.where(left, begin + w.clamp(max=700).exp(), w)
        y = torch.where(right & ~left, end - (-w).clamp(max=700).exp(), y)
        # from the nearer end: the last digits of a number beside its bound
        inside = torch.where(w < 0, begin + span * w.sigmoid(), end - span * (-w).sigmoid())
        y = torch.where(left & right, inside, y)
        x = torch.where(self.radius > 0, torch.round(y), y)
        x = torch.where((self.radius == 0) & (y < self.low + self.low_edge), self.low, x)
        x = torch.where((self.radius == 0) & (y > self.high - self.high_edge), self.high, x)
        x = torch.minimum(torch.maximum(x, self.low), self.high)
        return Dirac(layout.zero_padding(x.to(layout.dtype)), layout)

    @property
    def _begin(self) -> Tensor:
        return self.low - self.radius

    @property
    def _end(self) -> Tensor:
        return self.high + self.radius

    def _drawn(
        self, x: Tensor, layout: Layout, noise: NoiseSource | None
    ) -> tuple[Float[Tensor, "*x"], Float[Tensor, "*x"]]:
        """(y, width of the bin or 0), inside the open bounds whatever x is; NaN stays."""
        x = x.double()
        u = torch.full_like(x, 0.5) if noise is None else noise.uniform(layout)
        u = u.clamp(_TINY, 1 - _TINY)
        whole = self.radius > 0
        at_low = ~whole & (x < self.low + self.low_edge)
        at_high = ~whole & (x > self.high - self.high_edge)
        y = torch.where(whole, x + (u - 0.5), x)
        y = torch.where(at_low, torch.where(at_low, self.low, 0.0) + self.low_edge * u, y)
        y = torch.where(at_high, torch.where(at_high, self.high, 0.0) - self.high_edge * u, y)
        width = torch.where(whole, 1.0, torch.zeros_like(x))
        width = torch.where(at_low, self.low_edge, torch.where(at_high, self.high_edge, width))
        inner = torch.where(whole, _TINY, 0.0)
        y = torch.minimum(torch.maximum(y, self._begin + inner), self._end - inner)
        return y, width

    def _distances(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """From both ends; infinite where there is none."""
        return y - self._begin, self._end - y

    def _line(self, y: Tensor) -> Tensor:
        below, above = self._distances(y)
        left, right = torch.isfinite(self._begin), torch.isfinite(self._end)
        w = torch.where(left, below.log(), 0.0) - torch.where(right, above.log(), 0.0)
        return torch.where(left | right, w, y)
