"""A cure for a torchaudio that cannot be imported.

The torchaudio of PyPI beside a torch for the CPU raises OSError at import, and with it the models
of libraries that import torchaudio when it is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import cast

_COMPILED = "torchaudio._extension"


def without_broken_torchaudio() -> None:
    """Replace the compiled part of torchaudio by nothing, when and only when it cannot load.

    What torchaudio does in Python then works, and everything else says that it is missing. A
    torchaudio that cannot be imported even so is as good as not installed: for this process it is
    hidden. Call it before importing a library that may import torchaudio: models of transformers
    and diffusers do, wherever `importlib.util.find_spec` finds one.
    """
    if "torchaudio" in sys.modules or importlib.util.find_spec("torchaudio") is None:
        return
    if _imported():
        return
    sys.modules[_COMPILED] = _nothing()
    if not _imported():
        sys.modules["torchaudio"] = cast(
            ModuleType, None
        )  # what find_spec reads as "there is none"


def _imported() -> bool:
    """Import torchaudio; when that fails, leave nothing of it behind."""
    try:
        importlib.import_module("torchaudio")
    except Exception:  # OSError from the loader, RuntimeError for another CUDA, ImportError
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        return False
    return True


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
