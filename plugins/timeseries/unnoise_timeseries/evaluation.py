"""`unnoise evaluate timeseries`: what is known of the held-out part is hidden, and what comes back
is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
import pandas as pd
from pydantic import Field

from unnoise.errors import InputError
from unnoise.model import Metric
from unnoise_timeseries import metrics
from unnoise_timeseries.baselines import BASELINES
from unnoise_timeseries.frames import Table
from unnoise_timeseries.plots import calibration, save
from unnoise_timeseries.windows import check_leakage, cut

if TYPE_CHECKING:
    from unnoise.model import Model

Mask = np.ndarray[Any, np.dtype[np.bool_]]
_ROWS = 2000  # whose samples are held as whole rows at once


def hidden(
    observed: Mask, pattern: Literal["random", "block"], share: float, block: int, seed: int
) -> Mask:
    """Cells to hide: bool (rows, columns), a part of the observed ones.

    random : a share of the observed cells. block : runs of `block` rows in one column each, until
    the share is reached.
    """
    rng = np.random.default_rng(seed)
    cells = np.flatnonzero(observed)
    count = round(share * len(cells))
    found = np.zeros(observed.shape, dtype=bool)
    if pattern == "random":
        found.flat[rng.choice(cells, count, replace=False)] = True
        return found
    rows, columns = observed.shape
    if block > rows:
        raise InputError("a block is longer than the part it is hidden in", value=block, limit=rows)
    for _ in range(100 * (1 + count // block)):
        if (found & observed).sum() >= count:
            break
        start, column = rng.integers(rows - block + 1), rng.integers(columns)
        found[start : start + block, column] = True
    return found & observed


@final
class Imputation(Metric):
    """Known cells of the held-out part are hidden and filled, by the model and by baselines."""

    pattern: Literal["random", "block"] = Field(
        "random", description="what is hidden: single cells, or runs of rows in one column"
    )
    share: float = Field(0.1, gt=0, lt=1, description="of the observed cells of the held-out part")
    block: int = Field(24, ge=1, description="rows of a run")
    num_samples: int = Field(100, ge=2)
    steps: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    calibration: Path | None = Field(
        None, description="write nominal against true coverage into this PNG"
    )

    def measure(
        self, model: Model, source: Any, report: Callable[[str, float], None]
    ) -> Mapping[str, Any]:
        from unnoise_timeseries.data import read

        if model.configuration.method != "csdi":
            raise InputError("only a CSDI model fills holes", fix="use metric='forecasting'")
        found = read(source, model.configuration)
        tail = _tail(found, model)
        values = tail.to_numpy(dtype=np.float64)
        seen = np.isfinite(values) & ~np.asarray(model.configuration.given)
        mask = hidden(seen, self.pattern, self.share, self.block, self.seed)
        holed = tail.astype("float64").mask(mask)

        def follow(at: Any) -> None:
            report("imputing", (at.batch + at.step / at.steps) / at.batches)

        out = model.generate(
            data=holed,
            num_samples=self.num_samples,
            steps=self.steps,
            batch_size=self.batch_size,
            seed=self.seed,
            callback=follow,
        )
        drawn = np.stack([s.to_numpy(dtype=np.float64)[mask] for s in out.samples])
        return {
            "cells": int(mask.sum()),
            "evaluations": out.provenance["evaluations"],
            "seconds": out.provenance["seconds"],
            "scores": _compared(drawn, holed, values, mask, model, found, self.calibration),
        }

    def text(self, result: Mapping[str, Any]) -> str:
        return _text(result)


@final
class Forecasting(Metric):
    """The last rows of each series are forecast from those before, by the model and baselines."""

    horizon: int = Field(24, ge=1, description="rows")
    num_samples: int = Field(100, ge=2)
    steps: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    calibration: Path | None = Field(
        None, description="write nominal against true coverage into this PNG"
    )

    def measure(
        self, model: Model, source: Any, report: Callable[[str, float], None]
    ) -> Mapping[str, Any]:
        from unnoise_timeseries.data import read

        found = read(source, model.configuration)
        shortest = min(len(one.rows) for one in found.series)
        if self.horizon >= shortest:
            raise InputError("the horizon is longer than a series", value=self.horizon)
        last = np.zeros(len(found.frame), dtype=bool)
        for one in found.series:
            last[one.rows[-self.horizon :]] = True
            _no_leak(one.index[-self.horizon :], model)
        frame = pd.DataFrame(found.frame).astype("float64")
        values = frame.to_numpy()
        mask = np.isfinite(values) & last[:, None]
        if not mask.any():
            raise InputError("nothing is observed in the rows to forecast", value=self.horizon)

        def follow(at: Any) -> None:
            report("forecasting", at.step / at.steps)

        out = model.generate(
            data=frame[~last],
            horizon=self.horizon,
            num_samples=self.num_samples,
            steps=self.steps,
            batch_size=self.batch_size,
            seed=self.seed,
            callback=follow,
        )
        rows = frame.index[last]
        made = [pd.DataFrame(s).reindex(rows).to_numpy(dtype=np.float64) for s in out.samples]
        drawn = np.stack(made)[:, mask[last]]
        holed = frame.mask(np.broadcast_to(last[:, None], frame.shape))
        return {
            "cells": int(mask.sum()),
            "evaluations": out.provenance["evaluations"],
            "seconds": out.provenance["seconds"],
            "scores": _compared(drawn, holed, values, mask, model, found, self.calibration),
        }

    def text(self, result: Mapping[str, Any]) -> str:
        return _text(result)


def _tail(found: Table, model: Model) -> pd.DataFrame:
    """The held-out rows of every series, at least a window of each."""
    configuration = model.configuration
    parts = []
    for one in found.series:
        border = cut(len(one.rows), configuration.kept)
        if configuration.kept == 0 or len(one.rows) - border < configuration.length:
            raise InputError(
                "the held-out part has fewer rows than the model's window",
                value=len(one.rows) - border,
                limit=f">= {configuration.length}",
                fix="train with a larger held_out",
            )
        _no_leak(one.index[border:], model)
        parts.append(found.frame.iloc[one.rows[border:]])
    return pd.concat(parts)


def _no_leak(times: pd.Index[Any], model: Model) -> None:
    """InputError when the model was trained on rows at or after the first of these times."""
    last = model.configuration.known.last
    if last and isinstance(times, pd.DatetimeIndex):
        check_leakage([(pd.Timestamp(last), pd.Timestamp(last))], [(times[0], times[-1])])


def _compared(
    drawn: np.ndarray[Any, Any],
    holed: pd.DataFrame,
    values: np.ndarray[Any, Any],
    mask: Mask,
    model: Model,
    found: Table,
    picture: Path | None,
) -> dict[str, dict[str, float]]:
    from unnoise_timeseries.timegrad import season_of

    scale = np.asarray(model.configuration.known.units)[np.nonzero(mask)[1]]
    truth = values[mask]
    season = season_of(found.frequency)
    results = {"model": metrics.scores(drawn, truth, scale)}
    results["model"]["energy score, normalised"] = energy(drawn / scale, truth / scale, mask)
    if picture is not None:
        save(calibration(drawn, truth), picture)
    keys = holed.index.get_level_values(0) if holed.index.nlevels > 1 else None
    for name, fill in BASELINES.items():
        pieces = [holed] if keys is None else [part for _, part in holed.groupby(keys, sort=False)]
        whole = pd.concat([fill(piece, season) for piece in pieces]).loc[holed.index]
        results[name] = metrics.scores(whole.to_numpy()[mask][None], truth, scale)
    return results


def energy(drawn: np.ndarray[Any, Any], truth: np.ndarray[Any, Any], mask: Mask) -> float:
    """The energy score of rows: a vector is what was hidden of one row, in all its columns.

    `drawn` (n, cells) and `truth` (cells,) in order of rows, then columns of `mask`.
    """
    ends, total, rows = np.cumsum(mask.sum(axis=1)), 0.0, 0
    for start in range(0, len(mask), _ROWS):
        part = mask[start : start + _ROWS]
        part = part[part.any(axis=1)]
        if not len(part):
            continue
        begin = int(ends[start - 1]) if start else 0
        cells = slice(begin, begin + int(part.sum()))
        made, true = np.zeros((len(drawn), *part.shape)), np.zeros(part.shape)
        made[:, part], true[part] = drawn[:, cells], truth[cells]
        total, rows = total + len(part) * metrics.energy_score(made, true), rows + len(part)
    return total / rows


def _text(result: Mapping[str, Any]) -> str:
    head = (
        f"{result['cells']} cells, {result['evaluations']} evaluations,"
        f" {result['seconds']:.1f} s; normalised: in standard deviations of the column"
    )
    return f"{head}\n{metrics.summary(result['scores'])}"
