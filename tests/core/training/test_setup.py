"""Refusals before the first step."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import SMALL, Big, Toy, run, weights

from unnoise.errors import ConfigError, InputError, PluginError
from unnoise.training import setup
from unnoise.training.options import TrainingConfiguration
from unnoise.training.train import train


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"learning_rate": 1e-3}, r"training\.learning_rate was 0\.01 and is 0\.001"),
        ({"seed": 4}, r"training\.seed was 0 and is 4"),
        ({"steps": 11}, r"training\.steps was 12 and is 11"),
        ({"width": 9}, r"configuration\.width was 8 and is 9"),
        ({"items": 51}, r"data\.training was 50 and is 51"),
        ({"objective": Big()}, r"objective was .*Simple.* and is .*Big"),
    ],
)
def test_resume_refuses_another_run(
    finished: Path, tmp_path: Path, options: dict, named: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    with pytest.raises(ConfigError, match=named):
        run(out, resume=True, **options)
    assert weights(out) == weights(finished)


def test_resume_refuses_other_data(finished: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.fingerprint"):
        train(Toy(), 0.5, finished, **SMALL, resume=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="an accelerator can do fp16")
def test_fp16_without_an_accelerator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"precision.*accelerator"):
        run(tmp_path / "run", precision="fp16")


def test_a_folder_with_a_run_is_not_overwritten(finished: Path) -> None:
    before = weights(finished)
    with pytest.raises(InputError, match=r"already contains a run.*resume=True"):
        run(finished, seed=8)
    assert weights(finished) == before


def test_a_bundle_without_checkpoints_is_not_overwritten(finished: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(finished / name, tmp_path)
    with pytest.raises(InputError, match="no checkpoint to continue from"):
        run(tmp_path, resume=True)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose a folder"):
        run(tmp_path / "file" / "run")


def test_empty_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        run(tmp_path / "run", items=0)


def test_an_unknown_domain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="imagse"):
        train("imagse", 0.0, tmp_path / "run")


def test_a_group_of_the_caller_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the exit of the group that it made itself is registered."""
    registered: list[object] = []
    monkeypatch.setattr(setup.atexit, "register", registered.append)
    where = f"file://{tmp_path / 'group'}"
    torch.distributed.init_process_group("gloo", init_method=where, rank=0, world_size=1)
    try:
        setup.start_processes(TrainingConfiguration(steps=1, device="cpu"))
        assert registered == []
        assert torch.distributed.is_initialized()
    finally:
        torch.distributed.destroy_process_group()
