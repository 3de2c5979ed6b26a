"""Configurations of diffusers' other schedulers: the same betas, or a refusal by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import ConfigError

diffusers = pytest.importorskip("diffusers")
without_broken_torchaudio()

from unnoise_images.diffusers_adapter import DiffusersScheduler  # noqa: E402


@pytest.mark.parametrize(
    "kind",
    [
        "PNDM",
        "DPMSolverMultistep",
        "DPMSolverSinglestep",
        "DEISMultistep",
        "UniPCMultistep",
        "EulerDiscrete",
        "EulerAncestralDiscrete",
        "HeunDiscrete",
        "LMSDiscrete",
    ],
)
def test_betas(tmp_path: Path, kind: str) -> None:
    scheduler = getattr(diffusers, f"{kind}Scheduler")(beta_schedule="scaled_linear")
    scheduler.save_pretrained(tmp_path)
    read = DiffusersScheduler.read(tmp_path / "scheduler_config.json")
    table = torch.tensor(read.schedule.betas)
    torch.testing.assert_close(table, scheduler.betas, atol=1e-6, rtol=1e-4)
    assert read.clip is None
    assert read.grid.spacing == scheduler.config.get("timestep_spacing", "linspace")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("DPMSolverMultistep", {"use_flow_sigmas": True}),
        ("UniPCMultistep", {"use_dynamic_shifting": True}),
        ("EulerDiscrete", {"timestep_type": "continuous"}),
        ("DDIM", {"use_flow_sigmas": False}),  # which diffusers' does not have
    ],
)
def test_another_process_is_refused(tmp_path: Path, kind: str, fields: dict[str, Any]) -> None:
    getattr(diffusers, f"{kind}Scheduler")().save_pretrained(tmp_path)
    path = tmp_path / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(ConfigError, match=next(iter(fields))):
        DiffusersScheduler.read(path)
