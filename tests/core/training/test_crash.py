"""Training that is killed, interrupted or out of space goes on as if nothing had happened."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import Toy, one_step

from unnoise.errors import Cancelled, LimitExceeded
from unnoise.objectives import Batch, Objective, Simple
from unnoise.storage import files
from unnoise.storage.bundle import read_bundle
from unnoise.training import checkpoint as checkpoints
from unnoise.training.record import rows
from unnoise.training.train import train

SMALL = {
    "steps": 12,
    "batch_size": 7,
    "learning_rate": 1e-2,
    "warmup": 3,
    "checkpoint_every": 4,
    "log_every": 3,
    "validate_every": 6,
    "bound_evaluations": 2,
    "width": 64,
    "dropout": 0.2,
}


class Calling(Objective):
    """Calls `action` in the middle of step `at`, counted from 1."""

    def __init__(self, at: int = -1, action: Callable[[], object] = lambda: None) -> None:
        self.at, self.action = at, action

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        if noise.ids[0] == 7 * (self.at - 1):
            self.action()
        return Simple()(denoiser, batch, noise)


def run(out: Path, objective: Objective | None = None, **options: object):
    return train(Toy(), 0.0, out, objective=objective or Calling(), **{**SMALL, **options})


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run(out)
    return out


def check_kills(tmp_path: Path, kills: int) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    script = Path(__file__).with_name("training_kills.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(kills), "20"],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] == kills
    assert any(0 < step < 60 for step in told["resumed"]), "no kill came in the middle of the run"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    last = Path("checkpoints", "step-00000060")
    for name in ("weights", "average", "optimizer"):
        file = last / f"{name}.safetensors"
        assert (whole / file).read_bytes() == (killed / file).read_bytes()
    assert weights(whole) == weights(killed)
    assert read_bundle(killed).card["training"]["finished"] is True
    assert [row["step"] for row in rows(killed)] == [row["step"] for row in rows(whole)]
    drawn = sorted(path.relative_to(whole) for path in whole.glob("samples/*/*.[th]*"))
    assert len(drawn) == 10 * 4  # three samples and a page
    assert sorted(path.relative_to(killed) for path in killed.glob("samples/*/*.[th]*")) == drawn
    assert all((whole / name).read_bytes() == (killed / name).read_bytes() for name in drawn)
    for name in ("validation_loss", "bound"):
        assert rows(killed)[-1][name] == rows(whole)[-1][name]
    assert not list(killed.rglob(".tmp-*"))
    assert not (killed / ".incoming").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs POSIX")
def test_killed_5_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    check_kills(tmp_path, 5)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs POSIX")
def test_killed_20_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    check_kills(tmp_path, 20)


class Killed(BaseException):
    pass


def test_killed_at_each_file_operation_of_a_checkpoint(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die before every single rename, sync and removal, one after the other, and resume."""
    out, count, deaths = tmp_path / "run", 0, 0
    one_step(out, objective=Calling(), **SMALL)

    def deadly(owner: object, name: str, fatal: int):
        real = getattr(owner, name)

        def call(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == fatal:
                raise Killed
            # a killed process does not tidy up
            return real(*arguments, **options) if count < fatal else None

        return call

    for fatal in range(1, 200):
        count = 0
        with monkeypatch.context() as patch:
            for name in ("replace", "rename", "fsync", "mkdir", "rmdir", "unlink"):
                patch.setattr(os, name, deadly(os, name, fatal))
            patch.setattr(shutil, "rmtree", deadly(shutil, "rmtree", fatal))
            try:
                one_step(out, objective=Calling(), **SMALL)  # and one checkpoint
            except Killed:
                deaths += 1
        if checkpoints.latest(out).step == 12:
            break
    assert deaths >= 20
    run(out, resume=True)
    assert weights(out) == weights(finished)
    assert not list(out.rglob(".tmp-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(
    finished: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    before = signal.getsignal(number)
    with pytest.raises(Cancelled, match="stopped after step 6") as caught:
        run(out, Calling(6, lambda: signal.raise_signal(number)))
    assert caught.value.value == number.name
    assert signal.getsignal(number) is before
    assert checkpoints.latest(out).step == 6
    assert read_bundle(out).card["training"]["finished"] is False
    run(out, resume=True)
    assert weights(out) == weights(finished)
    assert [row["step"] for row in rows(out)] == [3, 6, 9, 12]


def test_a_signal_in_the_last_step_ends_as_usual(finished: Path, tmp_path: Path) -> None:
    model = run(tmp_path / "run", Calling(12, lambda: signal.raise_signal(signal.SIGTERM)))
    assert model.card["training"]["finished"] is True
    assert weights(tmp_path / "run") == weights(finished)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", Calling(6, twice))
    assert checkpoints.latest(tmp_path / "run").step == 4


def test_a_signal_with_loading_processes(finished: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group: the loaders must neither die nor complain."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, os, signal\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_crash as t\n"
        "from pathlib import Path\n"
        "try:\n"
        "    stop = t.Calling(6, lambda: os.killpg(0, signal.SIGINT))\n"
        "    t.run(Path(sys.argv[1]), stop, workers=2)\n"
        "except t.Cancelled as error:\n"
        "    sys.exit(130)\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    run(tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(finished)


def test_training_in_a_thread_leaves_signals_alone(finished: Path, tmp_path: Path) -> None:
    thread = threading.Thread(target=run, args=(tmp_path / "run",))
    thread.start()
    thread.join()
    assert weights(tmp_path / "run") == weights(finished)


# --- no space left


def check_recovery(out: Path, finished: Path, step: int) -> None:
    """The checkpoint of `step` is good, nothing lies about, and the run can end as it should."""
    assert checkpoints.latest(out).step == step
    names = {path.name for path in (out / "checkpoints").iterdir()}
    assert f"step-{step:08d}" in names
    run(out, resume=True)
    assert weights(out) == weights(finished)
    assert not list(out.rglob(".tmp-*"))


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_disk_that_fills_up_during_a_checkpoint(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    out = tmp_path / "run"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill() -> None:
        if call == "fsync":
            monkeypatch.setattr(files.os, "fsync", full)
        else:
            monkeypatch.setattr(checkpoints, "write_file", full)

    with pytest.raises(LimitExceeded, match=r"no space left .*step 8.*resume=True"):
        run(out, Calling(7, fill))
    monkeypatch.undo()
    assert not list(out.rglob(".tmp-*"))
    check_recovery(out, finished, 4)


def test_a_limit_on_the_size_of_files(finished: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))

    try:
        with pytest.raises(LimitExceeded, match="no space left"):
            run(tmp_path / "run", Calling(7, limit))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    check_recovery(tmp_path / "run", finished, 4)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system can only be mounted by root on Linux")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_really_full(finished: Path, small_disk: Path) -> None:
    out = small_disk / "run"
    filler = small_disk / "filler"

    def fill() -> None:
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                return

    with pytest.raises(LimitExceeded, match="no space left"):
        run(out, Calling(8, fill))
    assert torch.isfinite(torch.cat([v.flatten().float() for v in _average(out)])).all()
    filler.unlink()
    check_recovery(out, finished, 4)


def _average(out: Path) -> list[Tensor]:
    good = checkpoints.latest(out)
    return list(checkpoints.read_tensors(good.folder / "average.safetensors").values())


def test_more_checkpoints_than_the_disk_holds(finished: Path, small_disk: Path) -> None:
    out = small_disk / "run"
    with pytest.raises(LimitExceeded, match="no space left"):
        run(out, checkpoint_every=1, keep=100)
    step = checkpoints.latest(out).step
    assert 0 < step < 12
    with pytest.raises(LimitExceeded, match="no space left"):
        run(out, checkpoint_every=1, keep=100, resume=True)
    assert checkpoints.latest(out).step >= step
