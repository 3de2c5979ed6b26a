"""Pictures: bands around the median inside the holes, and calibration."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unnoise.storage.files import replace_file
from unnoise_timeseries.frames import Filled

BANDS: Final = (0.9, 0.5)
_SHADES = ("#c6dbef", "#6baed6")
_MOST = 4  # columns of one picture
_AROUND = 1.0  # rows shown on each side of the longest hole, in units of its length
_LEAST = 24


def fan(
    frame: pd.DataFrame,
    holes: np.ndarray[Any, np.dtype[np.bool_]],
    drawn: np.ndarray[Any, np.dtype[np.float64]],
) -> Figure:
    """The surroundings of the longest hole of each of the columns with the most missing cells: 50
    and 90 % bands and median of the samples inside the holes, observed values as dots.

    Parameters
    ----------
    frame : with holes. Of a panel, the first series that has one is shown.
    holes : (rows, columns) bool.
    drawn : (samples, cells), the holes in order of rows, then columns.
    """
    values = np.full((len(drawn), *holes.shape), np.nan)
    values[:, holes] = drawn
    rows = _one_series(frame, holes)
    frame, holes, values = frame.iloc[rows], holes[rows], values[:, rows]
    chosen = np.argsort(-holes.sum(axis=0), kind="stable")[:_MOST]
    chosen = [j for j in chosen if holes[:, j].any()] or [0]
    figure = Figure(figsize=(10, 2.4 * len(chosen)), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, j in zip(figure.subplots(len(chosen), squeeze=False)[:, 0], chosen, strict=True):
        low, high = _view(holes[:, j])
        part = slice(low, high)
        _draw(axis, frame.iloc[part, j], values[:, part, j])
        axis.set_title(str(frame.columns[j]), loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(loc="upper right", fontsize=8, frameon=False, ncols=4)
    return figure


def calibration(samples: Any, truth: Any, names: Sequence[str] = ("",)) -> Figure:
    """Nominal against true coverage of central intervals: on the diagonal a model is honest, above
    it too careful, below it too sure.

    `samples` (n, cells) and `truth` (cells,), or lists of them, one for each of `names`.
    """
    pairs = [(samples, truth)] if isinstance(truth, np.ndarray) else list(zip(samples, truth))  # noqa: B905
    levels = np.linspace(0.02, 0.98, 49)
    figure = Figure(figsize=(4, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
    for (drawn, true), name in zip(pairs, names, strict=True):
        low = np.quantile(drawn, (1 - levels) / 2, axis=0, method="weibull")
        high = np.quantile(drawn, (1 + levels) / 2, axis=0, method="weibull")
        axis.plot(levels, ((low <= true) & (true <= high)).mean(axis=1), label=name or None)
    axis.set(xlabel="nominal coverage", ylabel="true coverage", xlim=(0, 1), ylim=(0, 1))
    if any(names):
        axis.legend(frameon=False, fontsize=8)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a picture as PNG."""
    replace_file(path, png(figure))
    return path


def png(figure: Figure) -> bytes:
    """A picture as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def page(samples: Sequence[Filled]) -> str:
    """An HTML fragment: the bands over all samples."""
    first = samples[0]
    holes = first.holes
    if not holes.any():
        return "<p>Nothing was missing: the frame is as it was given.</p>"
    drawn = np.stack([s.to_numpy(dtype=np.float64)[holes] for s in samples])
    picture = base64.b64encode(png(fan(pd.DataFrame(first), holes, drawn))).decode()
    what = html.escape(f"{len(samples)} samples of {int(holes.sum())} cells, 50 and 90 % bands")
    style = "max-width:100%;background:#ffffff"
    return (
        f'<img src="data:image/png;base64,{picture}" alt="{what}" title="{what}" style="{style}">'
    )


def _draw(axis: Any, column: pd.Series[Any], values: np.ndarray[Any, Any]) -> None:
    times: Any = column.index
    if isinstance(times, pd.MultiIndex):
        times = times.get_level_values(-1)
    if isinstance(times, pd.PeriodIndex):
        times = times.to_timestamp()
    numbers = column.to_numpy(dtype=np.float64)
    hole = ~np.isnan(values[0])
    observed = np.where(hole, np.nan, numbers)
    # bands begin and end at the observed neighbours, so that they can be seen to close
    known = np.where(hole, values, numbers)
    near = hole | np.roll(hole, 1) & (np.arange(len(hole)) > 0)
    near |= np.append(hole[1:], False)
    for level, shade in zip(BANDS, _SHADES, strict=True):
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], axis=0)
        axis.fill_between(
            times, low, high, where=near, color=shade, linewidth=0, label=f"{level:.0%}"
        )
    middle = np.where(near, np.median(known, axis=0), np.nan)
    axis.plot(times, middle, color="#08519c", linewidth=1.2, label="median")
    axis.plot(times, observed, ".", color="#222222", markersize=2.5, label="observed")
    for label in axis.get_xticklabels():
        label.set_fontsize(8)


def _one_series(frame: pd.DataFrame, holes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if not isinstance(frame.index, pd.MultiIndex):
        return np.arange(len(frame))
    codes, _ = pd.factorize(frame.index.get_level_values(0))
    first = codes[holes.any(axis=1)][0] if holes.any() else 0
    return np.flatnonzero(codes == first)


def _view(hole: np.ndarray[Any, Any]) -> tuple[int, int]:
    """The rows around the longest run of holes."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hole.astype(int), [0]])))
    if not len(edges):
        return 0, len(hole)
    begins, ends = edges[::2], edges[1::2]
    k = int(np.argmax(ends - begins))
    around = max(_LEAST, round(_AROUND * (ends[k] - begins[k])))
    return max(0, int(begins[k]) - around), min(len(hole), int(ends[k]) + around)
