"""A torchaudio whose compiled part does not load is cured, and any other left alone."""

from __future__ import annotations

import importlib
import sys

import pytest

from unnoise.compat import without_broken_torchaudio


@pytest.fixture
def torchaudio(tmp_path, monkeypatch):
    """A function that puts a torchaudio into the path whose compiled part is this source."""

    def put(compiled: str) -> None:
        package = tmp_path / "torchaudio"
        package.mkdir()
        (package / "__init__.py").write_text(
            "from torchaudio._extension import _IS_ALIGN_AVAILABLE, fail_if_no_align\n"
            "@fail_if_no_align\ndef align(): return 'aligned'\n"
        )
        (package / "_extension.py").write_text(compiled)
        monkeypatch.syspath_prepend(tmp_path)

    # what a real torchaudio left behind must not stand in, nor this one stay
    before = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "torchaudio"}
    for name in before:
        del sys.modules[name]
    yield put
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]
    sys.modules.update(before)


def test_a_compiled_part_that_does_not_load_is_replaced(torchaudio):
    torchaudio("raise OSError('libtorchaudio.so: undefined symbol')\n")
    without_broken_torchaudio()
    found = importlib.import_module("torchaudio")
    extension = importlib.import_module("torchaudio._extension")
    assert found.align() == "aligned"
    assert not extension._IS_TORCHAUDIO_EXT_AVAILABLE
    assert not extension._IS_ALIGN_AVAILABLE
    assert extension._check_cuda_version() is None


@pytest.mark.parametrize("error", ["OSError", "RuntimeError", "ImportError"])
def test_one_that_cannot_be_imported_even_so_is_hidden(torchaudio, tmp_path, error):
    torchaudio("")
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise {error}('not this torch')\n")
    without_broken_torchaudio()
    assert importlib.util.find_spec("torchaudio") is None  # what transformers and diffusers ask
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("torchaudio")
    without_broken_torchaudio()  # and asking again changes nothing
    assert importlib.util.find_spec("torchaudio") is None


def test_a_compiled_part_that_loads_is_left_alone(torchaudio):
    torchaudio("_IS_ALIGN_AVAILABLE = True\ndef fail_if_no_align(f): return f\n")
    without_broken_torchaudio()
    assert importlib.import_module("torchaudio._extension")._IS_ALIGN_AVAILABLE


def test_without_torchaudio_nothing_happens(monkeypatch, torchaudio):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    without_broken_torchaudio()
    assert "torchaudio._extension" not in sys.modules
