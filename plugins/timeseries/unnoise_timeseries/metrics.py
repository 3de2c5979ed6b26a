"""Scores of forecasts and imputations that are given as samples.

`samples` is (n, cells): n draws of each cell; `truth` (cells,). All are in the data's units unless
said otherwise, and all are better when smaller, except coverage, which should be its level.

Two quantities go by the name CRPS. `quantile_loss` is the one that CSDI's and TimeGrad's tables
print: an average over 19 quantiles, divided by the size of the data. `fair_crps` is the continuous
ranked probability score itself, without the bias of a finite number of samples. For a forecast
N(0, 1) of N(0, 1) the first (not normalised) is 0.5914 and the second 0.5642 = 1 / sqrt(pi).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from unnoise.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]

LEVELS: Final = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""The 19 quantiles of CSDI's score."""
INTERVALS: Final = (0.5, 0.8, 0.9, 0.95)


def mae(samples: Array, truth: Array) -> float:
    """Mean absolute error of the median."""
    samples, truth = _checked(samples, truth)
    return float(np.abs(np.median(samples, axis=0) - truth).mean())


def rmse(samples: Array, truth: Array) -> float:
    """Root of the mean squared error of the median."""
    samples, truth = _checked(samples, truth)
    return float(np.sqrt(np.square(np.median(samples, axis=0) - truth).mean()))


def pinball(quantiles: Array, truth: Array, levels: Sequence[float]) -> Array:
    """(levels,) mean of 2 (level - 1[x < q]) (x - q), `quantiles` being (levels, cells)."""
    error = np.asarray(truth) - np.asarray(quantiles)
    weight = np.asarray(levels)[:, None] - (error < 0)
    return np.asarray(2 * (weight * error).mean(axis=1))


def quantile_loss(samples: Array, truth: Array, normalised: bool = True) -> float:
    """CSDI's score: the mean over 19 quantiles of 2 pinball, divided by the mean of |truth|
    (Tashiro 2021, called CRPS there). `normalised=False` leaves the division out."""
    samples, truth = _checked(samples, truth)
    loss = float(pinball(np.quantile(samples, LEVELS, axis=0), truth, LEVELS).mean())
    if not normalised:
        return loss
    size = float(np.abs(truth).mean())
    return loss / size if size > 0 else float("nan")


def fair_crps(samples: Array, truth: Array) -> float:
    """Mean of E|X - y| - E|X - X'| / 2, the second over pairs of different samples (Ferro 2014):
    its expectation does not depend on the number of samples. Needs two."""
    return float(cells_crps(samples, truth).mean())


def cells_crps(samples: Array, truth: Array) -> Array:
    """`fair_crps` of each cell."""
    samples, truth = _checked(samples, truth, least=2)
    n = len(samples)
    ranked = np.sort(samples, axis=0)
    # sum over pairs i < j of x_j - x_i, from the order statistics
    weights = (2 * np.arange(1, n + 1) - n - 1)[:, None]
    spread = (weights * ranked).sum(axis=0) / (n * (n - 1))
    return np.asarray(np.abs(samples - truth).mean(axis=0) - spread)


def coverage(samples: Array, truth: Array, level: float) -> float:
    """Share of cells within the central interval of this level.

    Its ends are the sample quantiles at place p (n + 1), so that n samples of the true law cover
    `level` in expectation; the usual interpolation at p (n - 1) + 1 would cover level (n - 1) /
    (n + 1), 81 % of 90 with 20 samples. Fewer than (1 + level) / (1 - level) samples can not reach
    the level.
    """
    if not 0 < level < 1:
        raise InputError("the level of an interval is a share", value=level, limit="0 < level < 1")
    samples, truth = _checked(samples, truth)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(samples, ends, axis=0, method="weibull")
    return float(((low <= truth) & (truth <= high)).mean())


def energy_score(samples: Array, truth: Array) -> float:
    """Mean of E|X - y| - E|X - X'| / 2 of whole vectors (Gneiting & Raftery 2007), the second over
    different samples: samples (n, items, d), truth (items, d). Unlike the scores above it sees
    dependence between cells."""
    samples, truth = np.asarray(samples, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if samples.ndim != 3 or samples.shape[1:] != truth.shape or len(samples) < 2:
        raise InputError(
            "an energy score compares samples (n, items, d), n >= 2, with truth (items, d)",
            value=(samples.shape, truth.shape),
        )
    n = len(samples)
    error = np.linalg.norm(samples - truth, axis=-1).mean(axis=0)
    spread = np.zeros(len(truth))
    for i in range(n - 1):  # pair by pair would need n^2 memory
        spread += np.linalg.norm(samples[i + 1 :] - samples[i], axis=-1).sum(axis=0)
    return float((error - spread / (n * (n - 1))).mean())


def scores(samples: Array, truth: Array, scale: Array | float = 1.0) -> dict[str, float]:
    """Every score of a set of cells, by name.

    `scale` (cells,) are the units that the scores named `normalised` are in, e.g. the standard
    deviation of each cell's column; with columns of different units only those can be averaged.
    """
    samples, truth = _checked(samples, truth)
    z, y = samples / scale, truth / np.asarray(scale)
    found = {
        "mae": mae(samples, truth),
        "rmse": rmse(samples, truth),
        "quantile loss (CSDI)": quantile_loss(samples, truth),
        "mae, normalised": mae(z, y),
        "rmse, normalised": rmse(z, y),
    }
    if len(samples) > 1:
        found["fair CRPS"] = fair_crps(samples, truth)
        found["fair CRPS, normalised"] = fair_crps(z, y)
        found |= {f"coverage {q:.0%}": coverage(samples, truth, q) for q in INTERVALS}
    return found


def summary(results: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table: one row for each method, one column for each score."""
    names = list(dict.fromkeys(name for row in results.values() for name in row))
    lines = ["| method | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for method, row in results.items():
        cells = [f"{row[n]:.4g}" if n in row else "" for n in names]
        lines.append("| " + " | ".join([method, *cells]) + " |")
    return "\n".join(lines)


def _checked(samples: Array, truth: Array, least: int = 1) -> tuple[Array, Array]:
    samples, truth = np.asarray(samples, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if samples.ndim != 2 or truth.shape != samples.shape[1:] or len(samples) < least:
        raise InputError(
            f"scores compare samples (n, cells), n >= {least}, with truth (cells,)",
            value=(samples.shape, truth.shape),
        )
    if truth.size == 0:
        raise InputError("there is no cell to score")
    if not (np.isfinite(samples).all() and np.isfinite(truth).all()):
        raise InputError("samples and truth are finite; leave out the cells that are missing")
    return samples, truth
