"""Series with holes, and a model of them that was trained for seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from unnoise.domain import Model
from unnoise.trainer import train

sys.path.insert(0, str(Path(__file__).parent))  # for exact_series

SMALL = {"window": 12, "channels": 8, "layers": 1, "heads": 2, "time_width": 16, "step_width": 16}


def walk(rows: int, seed: int = 0) -> pd.DataFrame:
    """Two columns of an AR(1), hourly."""
    rng = np.random.default_rng(seed)
    x = np.zeros((rows, 2))
    for t in range(1, rows):
        x[t] = 0.9 * x[t - 1] + 0.44 * rng.normal(size=2)
    index = pd.date_range("2024-01-01", periods=rows, freq="h")
    return pd.DataFrame(10 + 3 * x, index=index, columns=["a", "b"])


@pytest.fixture
def frame() -> pd.DataFrame:
    """80 rows with holes of one cell and of ten rows."""
    found = walk(80)
    found.iloc[20:30, 0] = np.nan
    found.iloc[[5, 50, 51], 1] = np.nan
    found.iloc[0, 0] = found.iloc[-1, 1] = np.nan
    return found


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny CSDI model."""
    folder = tmp_path_factory.mktemp("runs") / "csdi"
    quick = {"steps": 30, "batch_size": 8, "bound_samples": 0, "device": "cpu"}
    train("timeseries", walk(200), folder, held_out=0.2, learning_rate=3e-3, **SMALL, **quick)
    return folder


@pytest.fixture(scope="session")
def model(run: Path) -> Model:
    from unnoise import load

    return load(run)
