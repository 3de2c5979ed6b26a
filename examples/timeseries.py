"""Fit an imputer to a data frame with holes, check it on cells that it was not shown, and fill the
holes with bands around them.

    python examples/timeseries.py [--data holes.csv] [--out runs/timeseries] [--steps 1000]
        [--num-samples 50]

Without --data, 18 days of hourly air quality and weather in Beijing (UCI, CC-BY-4.0), in which the
particulate matter is missing for 155 hours and for 76. Writes filled.csv, quantiles.csv and
filled.png.
"""

import argparse
from pathlib import Path

import numpy as np

from unnoise_timeseries import EXAMPLE, DiffusionImputer, metrics
from unnoise_timeseries.baselines import interpolation
from unnoise_timeseries.evaluation import hidden
from unnoise_timeseries.files import quantiles
from unnoise_timeseries.loaders import load
from unnoise_timeseries.plots import fan, save


def main(data: Path, folder: Path, steps: int, num_samples: int) -> None:
    frame = load(data).astype("float64")
    values = frame.to_numpy()
    mask = hidden(np.isfinite(values), "random", 0.1, 24, seed=0)  # known, but not told
    shown = frame.mask(mask)
    options = {"channels": 16, "layers": 2, "heads": 4}
    imputer = DiffusionImputer(
        window=48, steps=steps, options=options, num_samples=num_samples, random_state=0
    ).fit(shown)

    # (samples, rows, columns): what is hidden, and what was missing from the start
    drawn = imputer.sample(num_samples).to_numpy().reshape(num_samples, *values.shape)
    spread = np.nanstd(values, axis=0)
    spread = np.where(spread > 0, spread, 1.0)[np.nonzero(mask)[1]]  # no snow in September
    truth = values[mask] / spread
    straight = interpolation(shown).to_numpy()[mask] / spread
    made = drawn[:, mask] / spread
    print(f"{mask.sum()} hidden cells, in standard deviations of their columns:")
    print(f"  mean error of the median {metrics.mae(made, truth):.3f}, fair CRPS", end=" ")
    print(f"{metrics.fair_crps(made, truth):.3f}, 90 % intervals hold", end=" ")
    print(f"{metrics.coverage(made, truth, 0.9):.0%}")
    print(f"  mean error of linear interpolation {metrics.mae(straight[None], truth):.3f}")

    folder.mkdir(parents=True, exist_ok=True)
    holes = np.isnan(values)
    frame.mask(holes, np.median(drawn, axis=0)).to_csv(folder / "filled.csv")
    levels = [0.05, 0.5, 0.95]
    cells = np.quantile(drawn[:, holes], levels, axis=0)
    quantiles(frame, holes, cells, levels).to_csv(folder / "quantiles.csv")
    save(fan(frame, holes, drawn[:, holes]), folder / "filled.png")
    print(f"open {folder / 'filled.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=EXAMPLE, help="CSV, parquet or Excel")
    parser.add_argument("--out", type=Path, default=Path("runs/timeseries"), help="a folder")
    parser.add_argument("--steps", type=int, default=1000, help="of the fit")
    parser.add_argument("--num-samples", type=int, default=50)
    chosen = parser.parse_args()
    main(chosen.data, chosen.out, chosen.steps, chosen.num_samples)
