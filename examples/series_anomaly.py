"""Find a sensor that jumps, and take the jump out of the series, by diffusion.

    python examples/series_anomaly.py [--jump 15] [--strength 0.999] [--steps 10] [--draws 8]
        [--out runs/anomaly]

Four days of the shipped series (hourly air quality and weather in Beijing, UCI, CC-BY-4.0). To six
hours of the thermometer `jump` degrees are added. Block after block of six hours is purified by
the shipped model (noise is added, and the model walks back, told all other cells), and the block
that moves farthest, in standard deviations of what the model draws there, is the anomaly. Writes
mended.csv.

What it shows and what it does not: the strength decides. Near 1 nothing of the block is left and
the model fills it in; at 0.3 most of a jump stays, because the model cannot tell a jump from a
block that was high.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import unnoise
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout
from unnoise_purify import Purifier
from unnoise_timeseries import EXAMPLE
from unnoise_timeseries.codec import scaled
from unnoise_timeseries.data import condition_of
from unnoise_timeseries.loaders import load

COLUMN, ROWS, HOURS, BROKEN = "TEMP", 96, 6, 42


def purified(values, purifier, block, column, draws):
    """Draws (draws, hours) of a block of a column, given all other cells of `values`."""
    own = purifier.model.configuration
    known = torch.from_numpy(np.isfinite(values))
    doubted = torch.zeros_like(known)
    doubted[block, column] = known[block, column]
    given = (known & ~doubted).expand(draws, -1, -1)
    x = torch.from_numpy(np.nan_to_num(values)).expand(draws, -1, -1)
    told = condition_of(scaled(x, own.known).masked_fill(~given, 0.0), given, own)
    mask = doubted.expand(draws, -1, -1)
    layout = Layout.dense(draws, values.shape, mask=mask, dtype=torch.float64)
    with torch.no_grad():
        noise = NoiseSource(0, range(draws))
        found = purifier(layout.zero_padding(x), layout, told, noise=noise)
    return found[:, block, column].numpy()


def main(jump, strength, steps, draws, folder):
    model = unnoise.load("timeseries")
    frame = load(EXAMPLE)[list(model.configuration.known.columns)].iloc[:ROWS].astype("float64")
    truth, column = frame.to_numpy(), frame.columns.get_loc(COLUMN)
    seen, hurt = truth.copy(), slice(BROKEN, BROKEN + HOURS)
    seen[hurt, column] += jump
    purifier = Purifier(model, strength, steps=steps)

    blocks = [slice(k, k + HOURS) for k in range(0, ROWS, HOURS)]
    made = [purified(seen, purifier, block, column, draws) for block in blocks]
    moved = [
        float(np.abs(seen[block, column] - one.mean(0)).mean() / one.std(0).mean())
        for block, one in zip(blocks, made, strict=True)
    ]
    worst = int(np.argmax(moved))
    block = blocks[worst]
    print(f"{COLUMN} moves farthest at {frame.index[block.start]}, by {moved[worst]:.1f} standard")
    print(f"deviations of the model; the median block by {np.median(moved):.1f}")

    mended = seen.copy()
    mended[block, column] = np.median(made[worst], axis=0)
    for name, values in (("broken", seen), ("mended", mended)):
        error = np.abs(values - truth)[hurt, column].mean()
        print(f"{name}: mean error of the six hours {error:.2f} degrees")
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(mended, frame.index, frame.columns).to_csv(folder / "mended.csv")
    print(f"open {folder / 'mended.csv'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jump", type=float, default=15.0, help="degrees")
    parser.add_argument("--strength", type=float, default=0.999, help="sigma of the noise added")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--draws", type=int, default=8, help="of each block")
    parser.add_argument("--out", type=Path, default=Path("runs/anomaly"), help="a folder")
    chosen = parser.parse_args()
    main(chosen.jump, chosen.strength, chosen.steps, chosen.draws, chosen.out)
