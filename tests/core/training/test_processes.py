"""Two processes under `accelerate launch` do what one does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import training_pair
from training_toy import Toy

from unnoise.objectives import Networks
from unnoise.storage.bundle import read_bundle
from unnoise.training import checkpoint as checkpoints
from unnoise.training.record import rows
from unnoise.training.train import train


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made."""
    folder = tmp_path_factory.mktemp("pair")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # accelerate starts several processes without MPI only by the launcher of its name for GPUs
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--main_process_port", port]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, *launch, str(training_pair.__file__), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train(Toy(), 0.0, out, **training_pair.OPTIONS)
    return out


def check_close(one: Path, two: Path) -> None:
    expected, found = read_bundle(one).state_dict, read_bundle(two).state_dict
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_two_processes_end_with_the_weights_of_one(pair: Path, alone: Path) -> None:
    assert read_bundle(pair / "run").card["training"]["processes"] == 2
    check_close(alone, pair / "run")
    # the weights moved far more than they differ
    start = Networks(Toy().build(Toy().configure(0.0, {"width": 16}))).state_dict()
    moved = read_bundle(alone).state_dict
    assert max(float((moved[name] - start[name]).abs().max()) for name in start) > 1e-2


def test_two_processes_log_what_one_logs(pair: Path, alone: Path) -> None:
    one, two = rows(alone), rows(pair / "run")
    assert [row["step"] for row in two] == [row["step"] for row in one]
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"seconds", "steps_per_second"}:
            assert b[name] == pytest.approx(a[name], rel=1e-3)


def test_all_processes_return_the_model_that_was_written(pair: Path) -> None:
    written = read_bundle(pair / "run").hash
    assert [(pair / f"hash-{rank}").read_text() for rank in (0, 1)] == [written, written]


def test_turns_and_weights_are_those_of_one_process(pair: Path, tmp_path: Path) -> None:
    objective = training_pair.duel()
    train(training_pair.Weighing(), 0.0, tmp_path, **training_pair.OPTIONS, objective=objective)
    check_close(tmp_path, pair / "turns")
    for one, two in zip(rows(tmp_path), rows(pair / "turns"), strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {"seconds", "steps_per_second"}:
            assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-6)


def test_a_signal_to_one_process_stops_all_at_the_same_step(pair: Path) -> None:
    assert [(pair / f"stopped-{rank}").read_text() for rank in (0, 1)] == ["SIGTERM", "SIGTERM"]
    assert 6 in [row["step"] for row in rows(pair / "stopped")]
    same = (pair / "run" / "model.safetensors").read_bytes()
    assert (pair / "stopped" / "model.safetensors").read_bytes() == same


def test_no_thread_of_the_group_outlives_it(pair: Path) -> None:
    for rank in (0, 1):
        threads = (pair / f"threads-{rank}").read_text().splitlines()
        assert [name for name in threads if "gloo" in name] == []


def test_one_process_continues_what_two_began(pair: Path, alone: Path, tmp_path: Path) -> None:
    shutil.copytree(pair / "run", tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "latest").write_text("step-00000016\n")
    train(Toy(), 0.0, tmp_path / "run", **training_pair.OPTIONS, resume=True)
    assert checkpoints.latest(tmp_path / "run").step == 20
    check_close(alone, tmp_path / "run")
