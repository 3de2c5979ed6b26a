"""A device that is not there: tensors that say "meta" and compute on the processor.

What computes with tensors of two devices is refused, as an accelerator refuses it, and every number
that Python asks for, for which an accelerator is waited for, is counted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
_MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
_INDICES = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default}
_WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default}


class There(Tensor):
    """A tensor on the device."""

    @staticmethod
    def __new__(cls, value: Tensor) -> There:
        return Tensor._make_wrapper_subclass(
            cls,
            value.shape,
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device=DEVICE,
        )

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def tolist(self) -> Any:
        return self.value.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class OtherDevice(TorchDispatchMode):
    """Inside, `DEVICE` is a device; `waits` counts."""

    waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.waits += func in _WAITS
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    there = [isinstance(x, There) for x in tensors]
    asked = kwargs.get("device")
    if func not in _MOVES | _INDICES and any(there):
        here = [tuple(x.shape) for x, on in zip(tensors, there, strict=True) if not on and x.ndim]
        if here:
            raise RuntimeError(f"{func}: a tensor {here} is on another device")
    goes = any(there) if asked is None else torch.device(asked) == DEVICE
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map(lambda x: x.value if isinstance(x, There) else x, (args, kwargs))
    found = func(*args, **kwargs)
    if func._schema.name.endswith("_") and not func._schema.name.endswith("__"):
        return tensors[0]
    if func is torch.ops.aten.detach.default and not goes:
        return found
    return tree_map(lambda x: There(x) if goes and isinstance(x, Tensor) else x, found)


def moved(module: nn.Module) -> nn.Module:
    """A module's weights, on the device."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(There(value.detach()), requires_grad=False)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = There(value)
    return module
