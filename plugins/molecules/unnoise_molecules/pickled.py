"""Pickles read as data: nothing that they name is imported, called or changed.

A pickle is a program for a machine with a stack. This machine knows the instructions that make
containers, texts and numbers, and of what a pickle may name: `rdkit.Chem.Mol` of bytes, which
RDKit reads as it reads a file, a number of numpy, an OrderedDict (a dict) and the bytes of old
protocols. Arrays become nothing. Python's own machine calls what a pickle names with what it says;
limited to some names it still writes into the memory of the process, by types of numpy whose
numbers are addresses.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from rdkit import Chem

from unnoise.errors import InputError

_NUMBERS: Final = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


@final
@dataclass(frozen=True)
class _Name:
    """What a pickle calls by `module.name`."""

    full: str


@final
@dataclass(frozen=True)
class _Number:
    """A type of numpy's numbers."""

    code: str


def read(data: bytes) -> Any:
    """What a pickle holds.

    Raises InputError for names and instructions that a record of molecules has no need of;
    ValueError, TypeError, IndexError, KeyError or RuntimeError for one that is damaged.
    """
    machine = _Machine()
    for instruction, argument, _ in pickletools.genops(data):
        if instruction.name == "STOP":
            return machine.stack.pop()
        machine.run(instruction.name, argument)
    raise ValueError("a pickle without an end")


@final
class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """One instruction of `pickletools.opcodes`."""
        stack = self.stack
        if name in _PUSHED:
            stack.append(argument)
        elif name in _FRESH:
            stack.append(_FRESH[name]())
        elif name == "MARK":
            self._marked.append(stack)
            self.stack = []
        elif name in _OF_MARKED:
            made = self._since_mark()
            _OF_MARKED[name](self.stack, made)
        elif name in _OF_TOP:
            _OF_TOP[name](stack)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "GLOBAL":
            stack.append(_named(argument.replace(" ", ".", 1)))
        elif name not in ("PROTO", "FRAME"):
            raise InputError("a pickle does what it has no need of", value=name)

    def _since_mark(self) -> list[Any]:
        made, self.stack = self.stack, self._marked.pop()
        return made


def _mol(data: Any, *rest: Any) -> Chem.Mol:
    return Chem.Mol(data.encode("latin1") if isinstance(data, str) else bytes(data))


def _scalar(kind: _Number, data: Any) -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    (number,) = np.frombuffer(raw, dtype=f"<{kind.code}").tolist()
    return number


def _kind(code: str, *rest: Any) -> _Number | None:
    return _Number(code) if code in _NUMBERS else None


def _nothing(*arguments: Any) -> None:
    return None


_KNOWN: Final[dict[str, Callable[..., Any]]] = {
    "rdkit.Chem.rdchem.Mol": _mol,
    "collections.OrderedDict": lambda pairs=(): dict(pairs),
    "_codecs.encode": lambda text, how: text.encode("latin1"),
    "numpy.dtype": _kind,
    "numpy.ndarray": _nothing,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": _nothing,
    "numpy._core.multiarray._reconstruct": _nothing,
    "numpy.core.numeric._frombuffer": _nothing,
    "numpy._core.numeric._frombuffer": _nothing,
}


def _named(full: str) -> _Name:
    if full not in _KNOWN:
        raise InputError("a pickle names what it has no need of", value=full)
    return _Name(full)


def _called(stack: list[Any]) -> None:
    """What stands for the call of a name with a tuple of arguments."""
    arguments, name = stack.pop(), stack.pop()
    if not isinstance(name, _Name) or not isinstance(arguments, tuple):
        raise InputError("a pickle calls what is no name", value=type(name).__name__)
    stack.append(_KNOWN[name.full](*arguments))


def _built(stack: list[Any]) -> None:
    """The state that an object is to be given goes: it has none that a record needs, but numbers
    the other way round would be other numbers."""
    state, made = stack.pop(), stack[-1]
    if isinstance(made, _Number) and ">" in tuple(state)[:2]:
        raise InputError("a pickle holds numbers of another machine", value=made.code)


def _name_of_two(stack: list[Any]) -> None:
    name, module = stack.pop(), stack.pop()
    stack.append(_named(f"{module}.{name}"))


def _put(stack: list[Any], pairs: list[Any]) -> None:
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, (str, bytes, int, float)):  # others can take for ever to hash
            raise InputError("a pickle has keys that are no texts", value=type(key).__name__)
        stack[-1][key] = value


def _of_pairs(stack: list[Any], pairs: list[Any]) -> None:
    stack.append({})
    _put(stack, pairs)


def _last(count: int) -> Callable[[list[Any]], None]:
    def tupled(stack: list[Any]) -> None:
        stack[-count:] = [tuple(stack[-count:])]

    return tupled


def _set_item(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    _put(stack, [key, value])


_PUSHED: Final = frozenset(
    (
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    )
)
_FRESH: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_OF_MARKED: Final[dict[str, Callable[[list[Any], list[Any]], None]]] = {
    "LIST": lambda stack, made: stack.append(made),
    "FROZENSET": lambda stack, made: stack.append(made),
    "TUPLE": lambda stack, made: stack.append(tuple(made)),
    "DICT": _of_pairs,
    "APPENDS": lambda stack, made: stack[-1].extend(made),
    "ADDITEMS": lambda stack, made: stack[-1].extend(made),
    "SETITEMS": _put,
    "POP_MARK": lambda stack, made: None,
}
_OF_TOP: Final[dict[str, Callable[[list[Any]], None]]] = {
    "TUPLE1": _last(1),
    "TUPLE2": _last(2),
    "TUPLE3": _last(3),
    "APPEND": lambda stack: stack[-2].append(stack.pop()),
    "SETITEM": _set_item,
    "POP": lambda stack: stack.__delitem__(-1),
    "DUP": lambda stack: stack.append(stack[-1]),
    "STACK_GLOBAL": _name_of_two,
    "REDUCE": _called,
    "NEWOBJ": _called,
    "BUILD": _built,
}
