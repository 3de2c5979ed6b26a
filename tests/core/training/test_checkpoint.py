"""Checkpoints: what they hold, which are kept, and those that are damaged."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import one_step, run, weights

from unnoise.errors import BundleError
from unnoise.training import checkpoint as checkpoints
from unnoise.training.record import rows


def test_resume_from_every_checkpoint_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, checkpoint_every=1, keep=100)
    whole = rows(out)
    for step in (1, 5, 11):
        (out / "checkpoints" / "latest").write_text(f"step-{step:08d}\n")
        run(out, checkpoint_every=1, keep=100, resume=True)
        assert weights(out) == weights(finished)
        again = rows(out)
        assert [row["step"] for row in again] == [row["step"] for row in whole]
        for name in ("validation_loss", "bound"):
            assert again[-1][name] == whole[-1][name]


def test_going_back_forgets_what_came_later(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, checkpoint_every=2, keep=100)
    (out / "checkpoints" / "latest").write_text("step-00000004\n")
    one_step(out, checkpoint_every=100, keep=1)
    assert checkpoints.latest(out).step == 5
    assert [path.name for path in (out / "checkpoints").glob("step-*")] == ["step-00000005"]


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    run(tmp_path / "run", checkpoint_every=2, keep=3)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["latest", "step-00000008", "step-00000010", "step-00000012"]


def test_checkpoints_hold_no_pickle_and_no_temporary_files(finished: Path) -> None:
    names = {path.suffix for path in finished.rglob("*") if path.is_file()}
    assert names - {path.suffix for path in (finished / "tensorboard").iterdir()} == {
        ".json",
        ".jsonl",
        ".safetensors",
        "",
    }
    assert not list(finished.rglob(".tmp-*"))


@pytest.mark.parametrize("name", ["weights", "average", "optimizer"])
def test_a_damaged_checkpoint_is_refused_and_says_what_to_do(
    finished: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    path = out / "checkpoints" / "step-00000012" / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"damaged.*step-00000008"):
        run(out, resume=True)
    (out / "checkpoints" / "latest").write_text("step-00000008\n")
    run(out, resume=True)
    assert weights(out) == weights(finished)


@pytest.mark.parametrize("content", ["", "step-99999999", "../../elsewhere"])
def test_a_pointer_to_nothing_is_refused(finished: Path, tmp_path: Path, content: str) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "checkpoints" / "latest").write_text(content)
    with pytest.raises(BundleError):
        run(out, resume=True)


def test_the_configuration_travels_as_json(finished: Path) -> None:
    state = json.loads((finished / "checkpoints" / "step-00000012" / "state.json").read_text())
    assert state["training"]["betas"] == [0.9, 0.999]
    assert state["configuration"] == {"width": 8, "dropout": 0.2, "items": 50}
