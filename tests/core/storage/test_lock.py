"""A lock on a folder: one writer, in this process and in others, and none after a death."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unnoise.errors import InputError
from unnoise.storage.lock import LOCK, locked

HOLD = """
import sys
from pathlib import Path
from unnoise.storage.lock import locked
with locked(Path(sys.argv[1]), "writing into"):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    with (
        locked(tmp_path, "writing into"),
        pytest.raises(InputError, match=rf"somebody is writing into.*process {os.getpid()}"),
        locked(tmp_path, "writing into"),
    ):
        pass
    assert not (tmp_path / LOCK).exists()
    with locked(tmp_path, "writing into"):
        pass


def test_another_process_and_its_death(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(InputError, match=f"process {other.pid}"), locked(tmp_path, "x"):
            pass
        other.kill()
        other.wait()
    with locked(tmp_path, "writing into"):
        pass


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="locking"), locked(tmp_path / "nowhere", "x"):
        pass
