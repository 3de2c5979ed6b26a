"""What a request leaves in its folder: samples, their median and quantiles, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from unnoise.storage.files import replace_file
from unnoise_timeseries.frames import Filled
from unnoise_timeseries.loaders import read_csv, times_of
from unnoise_timeseries.plots import fan, save

LEVELS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
_GIVEN = "observed.csv"


def write(sample: Filled, folder: Path, stem: str) -> Path:
    """samples/STEM.csv; and once observed.csv, the data as they were given, holes empty."""
    (folder / "samples").mkdir(exist_ok=True)
    given = folder / _GIVEN
    if not given.exists():
        replace_file(given, _text(pd.DataFrame(sample).astype("float64").mask(sample.holes)))
    path = folder / "samples" / f"{stem}.csv"
    replace_file(path, _text(sample))
    return path


def gather(paths: Sequence[Path], folder: Path) -> list[Path]:
    """filled.csv (observed cells and the median of the others), quantiles.csv (one row for each
    generated cell and LEVELS) and filled.png. The samples stay."""
    depth = _depth(paths[0])
    given = _read(folder / _GIVEN, depth)
    holes = given.isna().to_numpy()
    drawn = np.stack([_read(path, depth).to_numpy(dtype=np.float64)[holes] for path in paths])
    values = levels_of(drawn, LEVELS)
    middle, centre = _read(paths[0], depth), median_of(drawn)
    for j in np.flatnonzero(holes.any(axis=0)):
        new = centre[np.nonzero(holes)[1] == j]
        column = middle.iloc[:, j].to_numpy(dtype=np.float64).copy()
        column[holes[:, j]] = new
        middle.isetitem(j, column)
    replace_file(folder / "filled.csv", _text(middle))
    table = quantiles(given, holes, values, LEVELS)
    replace_file(folder / "quantiles.csv", table.to_csv().encode())
    if depth == 1 and given.index.dtype.kind not in "iu":
        given.index = times_of(given.index, "time")
    picture = save(fan(given, holes, drawn), folder / "filled.png")
    return [folder / "filled.csv", folder / "quantiles.csv", picture]


def levels_of(
    drawn: np.ndarray[Any, Any], levels: Sequence[float]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Quantiles (levels, ...) of n samples (n, ...), at place p (n + 1) among them: the next one
    lies between those at p and 1 - p with probability 1 - 2 p. Beyond the outermost samples,
    p < 1 / (n + 1), there is nothing to go by: theirs are returned."""
    found: np.ndarray[Any, np.dtype[np.float64]] = np.quantile(
        drawn, levels, axis=0, method="weibull"
    )
    return found


def median_of(drawn: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The median of samples (n, ...); of whole numbers one that is whole."""
    found = np.asarray(np.median(drawn, axis=0), dtype=np.float64)
    whole = (drawn == np.rint(drawn)).all(axis=0)
    return np.where(whole, np.rint(found), found)


def quantiles(
    frame: pd.DataFrame,
    holes: np.ndarray[Any, np.dtype[np.bool_]],
    values: np.ndarray[Any, np.dtype[np.float64]],
    levels: Sequence[float],
) -> pd.DataFrame:
    """One row for each generated cell, named by its time and column, and one column per level."""
    rows, columns = np.nonzero(holes)
    index = frame.index[rows]
    names = pd.Index(frame.columns)[columns]
    keys = [index.get_level_values(i) for i in range(index.nlevels)]
    labels = ["time"] if index.nlevels == 1 else ["series", "time"]
    where = pd.MultiIndex.from_arrays([*keys, names], names=[*labels, "column"])
    return pd.DataFrame(values.T, index=where, columns=pd.Index(levels, name="quantile"))


def _text(frame: pd.DataFrame) -> bytes:
    """CSV whose first columns are (series and) time: `_read` tells a panel by them."""
    names = ["time"] if frame.index.nlevels == 1 else ["series", "time"]
    return pd.DataFrame(frame).rename_axis(names).to_csv().encode()


def _depth(path: Path) -> int:
    with open(path, encoding="utf-8") as file:
        return 2 if file.readline().startswith("series,time,") else 1


def _read(path: Path, depth: int) -> pd.DataFrame:
    """A table, its times as they are written."""
    return read_csv(path, index_col=list(range(depth)))
