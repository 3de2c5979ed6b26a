"""Rows that are kept as they come."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import time
from pathlib import Path

import pytest

from unnoise.errors import ConfigError, InputError, LimitExceeded
from unnoise.storage import kept as module
from unnoise.storage.kept import keeping

OF = {"model": "abc", "at": (1, 3)}


def filled(path: Path) -> None:
    with keeping(path, OF) as kept:
        kept.add("a", {"x": 0.1})
        kept.add("b", {"x": math.pi, "y": [1, 2]})


def test_rows_are_there_at_once_and_later(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    with keeping(path, OF) as kept:
        assert kept.get("a") is None
        assert kept.add("a", {"x": 0.1}) == {"x": 0.1}
        assert kept.get("a") == {"x": 0.1}
        assert json.loads(path.read_text().splitlines()[-1]) == {"key": "a", "row": {"x": 0.1}}
    with keeping(path, OF) as kept:
        assert kept.get("a") == {"x": 0.1}
        kept.add("b", {"x": math.pi})
    with keeping(path, {"at": [1, 3], "model": "abc"}) as kept:
        assert kept.get("b") == {"x": math.pi}


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    with keeping(None, OF) as kept:
        assert kept.add("a", {"x": 1}) == {"x": 1}
        assert kept.get("a") == {"x": 1}
    with keeping(None, OF) as kept:
        assert kept.get("a") is None


def test_a_file_that_was_cut_anywhere_goes_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    filled(whole)
    content, lines = whole.read_bytes(), whole.read_bytes().splitlines(keepends=True)
    for cut in range(len(content)):
        path = tmp_path / "cut"
        path.write_bytes(content[:cut])
        held = content[:cut].count(b"\n")  # the header and whole rows
        with keeping(path, OF) as kept:
            assert [kept.get(key) is not None for key in "ab"] == [held > 1, held > 2]
            for key, line in zip("ab", lines[1:], strict=True):
                if kept.get(key) is None:
                    kept.add(key, json.loads(line)["row"])
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({**OF, "model": "def"}, "model was 'abc' and is 'def'"),
        ({**OF, "at": [1]}, r"at was \[1, 3\] and is \[1\]"),
        ({**OF, "more": 1}, "more was None and is 1"),
        ({"model": "abc"}, "at was"),
    ],
)
def test_rows_of_something_else_are_refused(tmp_path: Path, other: dict, said: str) -> None:
    filled(tmp_path / "rows")
    before = (tmp_path / "rows").read_bytes()
    with pytest.raises(ConfigError, match=said), keeping(tmp_path / "rows", other):
        pass
    assert (tmp_path / "rows").read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF",
        b"{}\n",
        b"[1]\n",
        b"no\n",
        b'{"kept": {}}\n{"key": "a"}\n',
        b"{\n{}\n",
        b'{"kept": 3}\n',
    ],
)
def test_another_file_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises((InputError, ConfigError)), keeping(path, OF):
        pass
    assert path.read_bytes() == content
    with pytest.raises(InputError, match="choose a folder"), keeping(tmp_path, OF):
        pass


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with keeping(tmp_path / "rows", OF) as kept:
        kept.add("a", {"x": 1})
        monkeypatch.setattr(module.os, "fsync", full)
        with pytest.raises(LimitExceeded, match="no space left while keeping a row"):
            kept.add("b", {"x": 2})
    with keeping(tmp_path / "rows", OF) as kept:
        assert kept.get("a") == {"x": 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs POSIX")
def test_a_kill_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    child = os.fork()
    if not child:
        try:
            with keeping(path, OF) as kept:
                for k in range(10**9):
                    kept.add(str(k), {"square": k * k})
        finally:
            os._exit(1)
    while not path.exists() or path.read_bytes().count(b"\n") < 20:
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    last = path.read_bytes().count(b"\n") - 2
    with keeping(path, OF) as kept:
        assert all(kept.get(str(k)) == {"square": k * k} for k in range(last + 1))
        assert kept.get(str(last + 1)) is None
