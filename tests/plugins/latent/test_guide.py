"""The guide to data of one's own runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

GUIDE = Path(__file__).parents[3] / "docs/pages/howto/latent-space.md"


def test_guide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told: dict[str, Any] = {"__name__": "guide"}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL):
        exec(compile(block, str(GUIDE), "exec"), told)
    nats = float(capsys.readouterr().out.split()[-4])
    # of rows without noise it would fall without end; with it, a number has -.9 to 1.1 nats
    assert -0.9 < nats < 1.1
    assert torch.isfinite(told["likelihood"].nats).all()
