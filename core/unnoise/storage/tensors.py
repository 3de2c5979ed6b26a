"""Tensors in files: the safetensors format, and weights that fit a network or say why not.

Importing this module does not import torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unnoise.errors import BundleError

if TYPE_CHECKING:
    import torch


def fit_weights(
    module: torch.nn.Module, state_dict: Mapping[str, torch.Tensor], origin: object = "the weights"
) -> None:
    """Load `state_dict` into `module`, or raise BundleError naming and counting what differs."""
    have = module.state_dict()
    missing = [name for name in have if name not in state_dict]
    unexpected = [name for name in state_dict if name not in have]
    reshaped = [
        f"{name} {tuple(state_dict[name].shape)} instead of {tuple(have[name].shape)}"
        for name in have
        if name in state_dict and state_dict[name].shape != have[name].shape
    ]
    found = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    problems = [f"{len(names)} {kind} ({some(names)})" for kind, names in found if names]
    if problems:
        raise BundleError(
            f"{origin} do not fit the network: {', '.join(problems)}",
            fix="the network was built from another configuration or another version of its plugin",
        )
    module.load_state_dict(dict(state_dict))


def tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """`tensors` in the safetensors format, the same bytes for the same values."""
    from safetensors.torch import save

    seen: set[int] = set()
    ready = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        # Tied weights share memory, which the format does not express: each name gets its copy.
        if value.numel() and value.untyped_storage().data_ptr() in seen:
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        ready[name] = value
    return save(ready)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU; BundleError when it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleError(
            f"{str(path)!r} is damaged: {error}", fix="copy or download the bundle again"
        ) from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest(*values: object) -> str:
    """SHA-256 of texts, numbers, tensors, arrays and bytes, and of mappings and sequences of them,
    in hexadecimal: what says whether data are the same."""
    found = hashlib.sha256()
    for value in values:
        _feed(found, value)
    return found.hexdigest()


def _feed(found: Any, value: object) -> None:
    import numpy as np
    import torch

    if isinstance(value, Mapping):
        for name in sorted(value, key=str):
            found.update(str(name).encode())
            _feed(found, value[name])
    elif isinstance(value, (list, tuple)):
        found.update(f"{len(value)}".encode())
        for item in value:
            _feed(found, item)
    elif isinstance(value, torch.Tensor):
        found.update(f"{value.dtype}{tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, np.ndarray):
        found.update(f"{value.dtype}{value.shape}".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, bytes):
        found.update(value)
    else:
        found.update(repr(value).encode())


def some(names: Iterable[str], limit: int = 4) -> str:
    """The first few of `names`, and how many more there are."""
    shown = list(names)
    more = f", and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
