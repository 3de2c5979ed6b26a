"""The ways in which a run ends, and goes on."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import pytest
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import one_step, run, weights

from unnoise.errors import NonFiniteError
from unnoise.objectives import Batch, Objective, Simple
from unnoise.storage.bundle import read_bundle
from unnoise.training import checkpoint as checkpoints
from unnoise.training import loop
from unnoise.training.record import rows


class Clock(Objective):
    """Each call takes ten seconds, of a clock that stands still otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        self.now += 10
        return Simple()(denoiser, batch, noise)

    def monotonic(self) -> float:
        return self.now


LONG = {
    "steps": 1000,
    "validation_batches": 0,
    "bound_samples": 0,
    "log_every": 1,
    "decay": "linear",
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(loop, "time", found)
    return found


def test_a_run_that_the_clock_ends_anneals_as_one_that_its_steps_end(
    clock: Clock, tmp_path: Path
) -> None:
    model = run(tmp_path / "run", objective=clock, **LONG, max_minutes=100 / 60)
    log = rows(tmp_path / "run")
    # warm-up is by steps; the fall begins at step 3 of 1000 and follows the clock, n / 10 at step n
    expected = [
        0.01 * min(1, (n + 1) / 3) * (1 - (max(n, 100 * n, 3) - 3) / 997) for n in range(10)
    ]
    assert [row["learning_rate"] for row in log] == pytest.approx(expected)
    assert log[-1]["learning_rate"] < 0.0011
    assert model.card["training"]["finished"] is False
    assert model.card["training"]["progress"] == 1.0
    assert checkpoints.latest(tmp_path / "run").state["progress"] == 1.0


def test_the_time_of_all_sessions_counts(clock: Clock, tmp_path: Path) -> None:
    options = {**LONG, "objective": clock, "max_minutes": 100 / 60}
    run(tmp_path / "whole", **options)
    for step in range(1, 5):
        one_step(tmp_path / "cut", **options)
        good = checkpoints.latest(tmp_path / "cut")
        assert (good.step, good.state["progress"]) == (step, pytest.approx(step / 10))
    run(tmp_path / "cut", **options, resume=True)
    rates = [[row["learning_rate"] for row in rows(tmp_path / name)] for name in ("whole", "cut")]
    assert rates[0] == rates[1]
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")  # this clock repeats itself


def test_a_run_whose_time_is_up_goes_on_only_with_more_of_it(clock: Clock, tmp_path: Path) -> None:
    out, options = tmp_path / "run", {**LONG, "objective": clock}
    run(out, **options, max_minutes=50 / 60)
    before = weights(out)
    run(out, **options, max_minutes=50 / 60, resume=True)
    assert (weights(out), checkpoints.latest(out).step) == (before, 5)
    run(out, **options, max_minutes=100 / 60, resume=True)
    assert checkpoints.latest(out).step == 10
    late = rows(out)[4:6]
    assert late[1]["learning_rate"] > late[0]["learning_rate"]  # half of the time is left


def test_sessions_without_a_clock_end_with_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for step in range(1, 4):
        one_step(out)
        assert read_bundle(out).card["training"]["finished"] is False
        assert checkpoints.latest(out).step == step
    model = run(out, resume=True)
    assert model.card["training"]["finished"] is True
    assert weights(out) == weights(finished)
    assert [row["step"] for row in rows(out)] == [1, 2, 3, 6, 9, 12]


def test_resuming_a_finished_run_changes_nothing(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "model.safetensors").unlink()  # killed between the checkpoint and the bundle
    (out / "config.json").unlink()
    model = run(out, resume=True)
    assert weights(out) == weights(finished)
    assert model.card["validation"] == read_bundle(finished).card["validation"]
    assert len(rows(out)) == 4


def test_a_run_without_decay_may_be_made_longer(tmp_path: Path) -> None:
    run(tmp_path / "whole", decay="none", steps=16)
    run(tmp_path / "run", decay="none")
    run(tmp_path / "run", decay="none", steps=16, resume=True)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


class Bad(Objective):
    """`value` at step `at`, counted from 1."""

    def __init__(self, value: float, at: int) -> None:
        self.value, self.at = value, at

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        loss = Simple()(denoiser, batch, noise)
        return loss * self.value if noise.ids[0] == 7 * (self.at - 1) else loss


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(
    finished: Path, tmp_path: Path, value: float
) -> None:
    out = tmp_path / "run"
    with pytest.raises(NonFiniteError, match=r"loss became (nan|inf) at step 10 .*rate 0\.0") as e:
        run(out, objective=Bad(value, 10))
    assert str(out / "checkpoints" / "step-00000008") in str(e.value)
    assert checkpoints.latest(out).step == 8
    run(out, objective=Bad(value, -1), resume=True)
    assert weights(out) == weights(finished)


def test_nan_in_the_first_step_says_that_there_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="no checkpoint yet"):
        run(tmp_path / "run", objective=Bad(math.nan, 1))
