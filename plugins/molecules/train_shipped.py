"""Train the model that ships with the plugin, in five runs on one core.

    python plugins/molecules/train_shipped.py --data conformers-xtb.sdf.gz --out runs/conformers

The first run learns all noise levels; the others, each from the averaged weights of the one before,
concentrate on what generation meets: noise below .4 angstrom, with the errors of embeddings on top.
11, 12, 27, 34 and 68 minutes on a busy core, 1 to 3 steps per second, and a quarter of an hour for
the embeddings. When the shipped model was made, runs two to four coupled a reference to the nearest
of 8 embeddings within .8 or 1.2 angstrom; only the last one knew what `couplings` does now.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any, Final

import unnoise

EVERY: Final = {"batch_size": 32, "bound_samples": 0, "validation_batches": 4}
LATER: Final = {
    "embeddings": 16,
    "begin_level": 0.25,
    "focus": 0.4,
    "warmup": 50,
    "decay": "linear",
}
RUNS: Final[list[dict[str, Any]]] = [
    {"steps": 2000, "learning_rate": 1e-3, "decay": "none", "warmup": 200},
    {"steps": 1400, "learning_rate": 1e-3, "ema": 0.995, **LATER},
    {"steps": 4500, "learning_rate": 1e-3, "ema": 0.998, **LATER},
    {"steps": 5500, "learning_rate": 8e-4, "ema": 0.998, **LATER},
    {"steps": 4500, "learning_rate": 8e-4, "ema": 0.998, **LATER},
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # how the data are split
    options: dict[str, Any] = {}
    for number, run in enumerate(RUNS, 1):
        folder = chosen.out / f"run-{number}"
        model = unnoise.train("molecules", chosen.data, folder, **EVERY, **run, **options)
        options = {"initial": model}
    model.save(chosen.out / "bundle")
    print(f"the model is in {chosen.out / 'bundle'}")  # noqa: T201


if __name__ == "__main__":
    main()
