"""Where and how a network computes, without changing one that others hold."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

import torch
from torch import nn

from unnoise.engine.threads import threads as limited
from unnoise.errors import InputError

_ELSE = "pass device='cpu', which is always there"
N = TypeVar("N", bound=nn.Module)
_copies: WeakKeyDictionary[nn.Module, tuple[object, nn.Module]] = WeakKeyDictionary()


def device_of(device: str | None) -> torch.device:
    """The device of this name; a GPU when there is one and none is named."""
    try:
        usual = "cuda" if torch.cuda.is_available() else "cpu"
        chosen = torch.device(usual if device is None else device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"this device cannot be used: {str(error).splitlines()[0]}",
            value=str(device),
            fix=_ELSE,
        ) from error
    if chosen.type == "meta":
        raise InputError("this device holds no numbers", value=str(device), fix=_ELSE)
    return chosen


def placed(module: N, device: torch.device) -> N:
    """`module` if it is on `device` and evaluates, else a copy that does.

    The module is left as it is: others may hold it, in other threads, or in the middle of
    training. Its last copy is kept until its weights change or it is gone.
    """
    tensors = list(chain(module.parameters(), module.buffers()))
    own = (m for m in module.modules() if m._parameters or not m._modules)
    if all(t.device == device for t in tensors) and not any(m.training for m in own):
        return module
    state = (device, *((t.data_ptr(), t._version) for t in tensors))
    known = _copies.get(module)
    if known is None or known[0] != state:
        known = state, copy.deepcopy(module).to(device).eval().requires_grad_(False)
        _copies[module] = known
    return cast(N, known[1])


@contextmanager
def computing(device: torch.device, dtype: str, threads: int | None) -> Iterator[None]:
    """Networks compute in `dtype`, on so many threads of the processor."""
    with ExitStack() as stack:
        stack.enter_context(limited(threads))
        if dtype != "float32":
            stack.enter_context(torch.autocast(device.type, getattr(torch, dtype)))
        yield
