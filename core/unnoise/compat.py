"""Against what surrounds us: torch's global settings as others leave them, and a torchaudio that
cannot be imported.

The torchaudio of PyPI beside a torch for the CPU raises OSError at import, and with it the models
of libraries that import torchaudio when it is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, cast

_COMPILED = "torchaudio._extension"


class _Precision:
    """The default dtype of the process, which several threads may have put aside at a time."""

    def __init__(self) -> None:
        self.lock, self.inside, self.own = threading.Lock(), 0, cast(Any, None)

    @contextmanager
    def usual(self, torch: Any) -> Iterator[None]:
        with self.lock:
            if self.inside == 0:
                self.own = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self.inside += 1
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if self.inside == 0:
                    torch.set_default_dtype(self.own)


_precision = _Precision()


@contextmanager
def torch_as_usual() -> Iterator[None]:
    """While entered, torch is as a fresh process has it: it makes float32 tensors on the CPU, none
    of them in inference mode or under autocast.

    Networks are built, requests run and modules imported like this, so that what a caller has set
    (float64 or half as the default, a meta device, inference mode, autocast) changes neither a
    result nor what is kept for later calls. Works as a decorator, too. Imports no torch where there
    is none.
    """
    torch = cast(Any, sys.modules.get("torch"))
    if torch is None:
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(_precision.usual(torch))
        if torch.get_default_device() != torch.device("cpu"):  # costs time at every operation
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def torch_untouched() -> Iterator[None]:
    """`torch_as_usual`, and what draws from the global generators of torch and of Python gives the
    numbers back: fresh weights, which a stored model replaces, and libraries that are imported cost
    the caller none of its own."""
    torch = cast(Any, sys.modules.get("torch"))
    with ExitStack() as stack:
        stack.enter_context(torch_as_usual())
        if torch is not None:
            stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.callback(random.setstate, random.getstate())
        yield


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
