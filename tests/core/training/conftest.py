"""Runs that several tests look at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the options SMALL that nothing disturbed. Only read it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run(out)
    return out
