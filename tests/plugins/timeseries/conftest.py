"""Series with holes, and a model of them that was trained for seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from unnoise.model import Model
from unnoise.training.train import train

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside it

from small_series import SMALL, walk


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
