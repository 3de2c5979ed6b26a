"""Which distributions took part in something: found from the classes of the objects, and theirs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from types import FunctionType
from typing import Final

from unnoise.discovery.registry import packages

_NO_PLUGIN: Final = frozenset({*sys.stdlib_module_names, "__main__", "torch", "numpy", "pydantic"})
_LEAVES: Final = frozenset({bool, bytes, float, int, str, type(None), FunctionType})


def versions(*things: object) -> dict[str, str]:
    """Name and version of every distribution that has a class among `things`: their own, those that
    these inherit from, and those of what they hold (the kernel of a denoiser, its space, layers of
    a network). Python, torch, numpy and pydantic are not listed."""
    known = packages()
    found = {}
    for package in sorted(_packages_of(things)):
        name, release = known.get(package) or _distribution(package)
        if name:
            found[name] = release
    return found


def _packages_of(things: Iterable[object]) -> set[str]:
    """The top packages of the classes of `things` and of all that they hold."""
    seen: set[int] = set()
    kinds: dict[type, frozenset[str]] = {}
    waiting = list(things)
    while waiting:
        thing = waiting.pop()
        kind = type(thing)
        if kind in _LEAVES or id(thing) in seen:
            continue
        seen.add(id(thing))
        if kind not in kinds:
            kinds[kind] = _packages(kind)
            waiting += _shared(kind)
        if isinstance(thing, dict):
            waiting += dict.values(thing)
        elif isinstance(thing, (list, tuple)):
            waiting += [part for part in thing if type(part) not in _LEAVES]
        elif kinds[kind] or _top(kind) == "torch":  # torch: a container of layers
            waiting += getattr(thing, "__dict__", {}).values()
    return set().union(*kinds.values())


def _packages(kind: type) -> frozenset[str]:
    """Of a class and of those that it inherits from."""
    return frozenset(map(_top, kind.__mro__)) - _NO_PLUGIN


def _shared(kind: type) -> list[object]:
    """What the objects of a class have in common: attributes of the class, without its methods."""
    own = [vars(base).values() for base in kind.__mro__ if _top(base) not in _NO_PLUGIN]
    return [value for values in own for value in values if _top(type(value)) not in _NO_PLUGIN]


def _top(kind: type) -> str:
    return str(kind.__module__).partition(".")[0]


@cache
def _distribution(package: str) -> tuple[str, str]:
    """Of a package that is no plugin's; empty when no distribution has it."""
    try:
        return package, metadata.version(package)  # mostly it has the package's name
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(package, [])
        return (names[0], metadata.version(names[0])) if names else ("", "")
