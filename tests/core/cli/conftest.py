from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from circle import DOMAIN, PLUGIN, SHORT, TRAIN

from unnoise.cli import main


@pytest.fixture
def circle(install, here, tmp_path) -> Path:
    """The plugin is installed, there are data, and this is the folder to work in."""
    install("circle", PLUGIN, domain=DOMAIN)
    here.chdir(tmp_path)
    (tmp_path / "data.txt").write_text("40")
    return tmp_path


@pytest.fixture
def model(circle) -> Path:
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    return circle / "run"
