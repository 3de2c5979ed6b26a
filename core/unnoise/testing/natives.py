"""Native objects of any kind as numbers and words, so that two of them can be compared, and words
in them replaced."""

from __future__ import annotations

import copy
import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from unnoise.domain import Domain

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_DEEP: Final = 12
_LEVELS: Final = 64  # numbers from which on an array is one of levels

Leaf = tuple[str, Any]
"""Where it is, and a float64 array, or a word."""


def leaves(domain: Domain, sample: Any) -> list[Leaf]:
    """What a sample consists of; of an object that cannot be looked into, the file that the domain
    writes of it."""
    found = list(_leaves(sample, "", 0))
    if all(value is not None for _, value in found):
        return found
    with tempfile.TemporaryDirectory() as folder:
        path = domain.write(sample, Path(folder), "00000")
        data = path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return [("file", data)]
    numbers = np.array([float(n) for n in _NUMBER.findall(text)])
    return [("file", _NUMBER.sub("#", text)), ("file", numbers)]


def _leaves(x: Any, at: str, depth: int) -> Iterator[Leaf]:
    if depth > _DEEP:
        yield at, None
    elif x is None or isinstance(x, (str, bytes, type)):
        yield at, x if x is not None else ""
    elif isinstance(x, (bool, int, float, complex, np.generic)):
        yield at, np.asarray(x, dtype=np.complex128 if isinstance(x, complex) else np.float64)
    elif isinstance(x, torch.Tensor):
        yield at, x.detach().cpu().double().numpy()
    elif isinstance(x, Mapping):
        for name, value in x.items():
            yield from _leaves(value, f"{at}.{name}", depth + 1)
    elif isinstance(x, (list, tuple)) and x and all(type(v) in (int, float) for v in x):
        yield at, np.asarray(x, dtype=np.float64)
    elif isinstance(x, (list, tuple, set, frozenset)):
        yield at, np.asarray(float(len(x)))
        for k, value in enumerate(x):
            yield from _leaves(value, f"{at}[{k}]", depth + 1)
    elif dataclasses.is_dataclass(x):
        for field in dataclasses.fields(x):
            yield from _leaves(getattr(x, field.name), f"{at}.{field.name}", depth + 1)
    elif isinstance(x, np.ndarray) or hasattr(x, "__array__") or hasattr(x, "__array_interface__"):
        yield from _array(np.asarray(x), at)
    else:
        yield at, None


def _array(values: np.ndarray, at: str) -> Iterator[Leaf]:
    if values.dtype.kind in "biuf":
        yield at, values.astype(np.float64)
    elif values.dtype.kind in "mM":
        yield at, values.astype(np.int64).astype(np.float64)
    else:
        yield at, np.asarray(float(values.size))
        yield at, " ".join(map(repr, values.ravel().tolist()))


def difference(domain: Domain, a: Any, b: Any, *, rounding: bool = False) -> float:
    """Between two samples: 0 where they are the same, infinite where words or shapes differ, else
    the largest relative difference of numbers. With `rounding`, whole numbers of large arrays, such
    as levels of grey, may differ by the 1 that rounding of nearly equal numbers makes."""
    one, two = leaves(domain, a), leaves(domain, b)
    if [place for place, _ in one] != [place for place, _ in two]:
        return float("inf")
    return max((_gap(p, q, rounding) for (_, p), (_, q) in zip(one, two, strict=True)), default=0.0)


def _gap(p: Any, q: Any, rounding: bool) -> float:
    if not isinstance(p, np.ndarray) or not isinstance(q, np.ndarray):
        return 0.0 if type(p) is type(q) and bool(p == q) else float("inf")
    if p.shape != q.shape:
        return float("inf")
    if not p.size:
        return 0.0
    levels = rounding and p.size > _LEVELS
    allowed = ((p == np.round(p)) & (q == np.round(q))).astype(float) if levels else 0.0
    gap = np.maximum(np.abs(p - q) - allowed, 0) / (1 + np.abs(p))
    alike = (np.isnan(p) & np.isnan(q)) | (p == q)
    return float(np.where(alike, 0.0, np.where(np.isnan(gap), np.inf, gap)).max())


def with_words(x: Any, word: Callable[[str], str], depth: int = 0) -> Any:
    """A copy of a sample in which every word is another. Names of fields stay."""
    if isinstance(x, str):
        return word(x)
    if depth > _DEEP or x is None or isinstance(x, (bytes, bool, int, float, torch.Tensor)):
        return x
    if isinstance(x, Mapping):
        return {name: with_words(value, word, depth + 1) for name, value in x.items()}
    if isinstance(x, (list, tuple)) and type(x) in (list, tuple):
        return type(x)(with_words(value, word, depth + 1) for value in x)
    own = getattr(x, "__dict__", None)
    if not own or isinstance(x, type):
        return x
    changed = {name: with_words(value, word, depth + 1) for name, value in own.items()}
    if all(changed[name] is value for name, value in own.items()):
        return x
    made = copy.copy(x)
    for name, value in changed.items():
        object.__setattr__(made, name, value)
    return made
