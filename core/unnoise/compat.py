"""A cure for a torchaudio that cannot be imported.

The torchaudio of PyPI beside a torch for the CPU raises OSError at import, and with it the models
of libraries that import torchaudio when it is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

_COMPILED = "torchaudio._extension"


def without_broken_torchaudio() -> None:
    """Replace the compiled part of torchaudio by nothing, when and only when it cannot load.

    What torchaudio does in Python then works, and everything else says that it is missing. Call it
    before importing a library that may import torchaudio.
    """
    if _COMPILED in sys.modules or importlib.util.find_spec("torchaudio") is None:
        return
    try:
        importlib.import_module("torchaudio")
    except OSError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules[_COMPILED] = _nothing()


def _nothing() -> ModuleType:
    stub = ModuleType(_COMPILED)

    def fail_if_no_align(function: object) -> object:
        return function

    def _check_cuda_version() -> None:
        return None

    stub.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=fail_if_no_align,
        _check_cuda_version=_check_cuda_version,
    )
    return stub
