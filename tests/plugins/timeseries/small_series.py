"""A small series, and the options of a small network."""

from __future__ import annotations

import numpy as np
import pandas as pd

SMALL = {"window": 12, "channels": 8, "layers": 1, "heads": 2, "time_width": 16, "step_width": 16}


def walk(rows: int, seed: int = 0) -> pd.DataFrame:
    """Two columns of an AR(1), hourly."""
    rng = np.random.default_rng(seed)
    x = np.zeros((rows, 2))
    for t in range(1, rows):
        x[t] = 0.9 * x[t - 1] + 0.44 * rng.normal(size=2)
    index = pd.date_range("2024-01-01", periods=rows, freq="h")
    return pd.DataFrame(10 + 3 * x, index=index, columns=["a", "b"])
