"""Samplers and grids by what a user types: a name, or a name with arguments.

    ddim        edm(churn=20, churn_noise=1.003)        deis(variable=rho)        karras(power=5)

The same text serves on the command line, in Python, in the defaults of a bundle and in a record:
`spelled` writes what `named_sampler` reads. Nothing in it is executed: arguments are literals
(numbers, words, tuples, inf, True, None), given by name, and a sampler within a sampler is written
the same way, `outer(inner(eta=1), times=3)`. A name is that of `unnoise samplers`, or of the class.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, Final, Literal, Union, final, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from unnoise.conditioning import Potential
from unnoise.denoise import Denoiser
from unnoise.discovery.registry import find, resolve, specs_of
from unnoise.errors import ConfigError, PluginError, UnnoiseError, nearest
from unnoise.kernels import TransitionKernel
from unnoise.samplers import Sampler, grids
from unnoise.samplers.grids import Grid
from unnoise.samplers.strided import Strided
from unnoise.specs import Spec, normal

_LONGEST: Final = 1000
_CALL = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\(.*\))?\s*", re.DOTALL)
_QUOTED = re.compile(r"('[^']*'|\"[^\"]*\")")
_SIZED = re.compile(r"(?<=[=(,\s])(\d+[A-Za-z]+)(?=\s*[,)])")  # a word like 3M, which is no name
_HYPHEN = re.compile(r"(?<=\w)-(?=[A-Za-z])")  # of a name, as in first-one(...); not that of 1e-3


@final
@dataclass(frozen=True)
class Said:
    """A name with its arguments; a bare word among the arguments is one without any."""

    name: str
    given: tuple[Any, ...]
    named: Mapping[str, Any]
    text: str


def named_sampler(text: str) -> Sampler:
    """The sampler that `text` says.

    Raises
    ------
    PluginError : there is no sampler of this name. ConfigError : the text cannot be read, there is
        no such argument, or a value does not fit.
    """
    sampler: Sampler = made(read(text), Sampler, _sampler_class)
    return sampler


def named_grid(text: str) -> Grid:
    """The grid that `text` says, karras or karras(power=5).

    Raises
    ------
    InputError : there is no grid of this name. ConfigError : as `named_sampler`.
    """
    grid: Grid = made(read(text), Grid, _grid_class)
    return grid


def spelled(value: object) -> str:
    """A dataclass as text that can be read back: its class, and every argument it was made with. Of
    a potential, which may hold measurements, what it says of itself."""
    if isinstance(value, Enum):
        return repr(value.value)
    if isinstance(value, tuple):
        parts = [spelled(part) for part in value]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if not is_dataclass(value) or isinstance(value, (type, Potential)):
        return repr(value)
    parts = [
        f"{field.name}={spelled(getattr(value, field.name))}"
        for field in fields(value)
        if field.init and field.repr
    ]
    return f"{type(value).__name__}({', '.join(parts)})"


def names_for(kernel: TransitionKernel) -> list[str]:
    """The names of the samplers that run on `kernel` and ask for no denoiser of a special kind; a
    plugin that cannot be loaded has none."""
    found = []
    for name in sorted(specs_of("samplers")):
        with suppress(UnnoiseError):
            kind = _sampler_class(name)
            found += [name] if kind.fits(kernel) and kind.denoiser is Denoiser else []
    return found


def read(text: str) -> Said:
    """The name and the arguments in `text`. Raises ConfigError."""
    found = _CALL.fullmatch(text)
    if found is None or len(text) > _LONGEST:
        raise _unreadable(text[:_LONGEST])
    name, arguments = found.groups()
    if arguments is None:
        return Said(name, (), {}, name)
    pieces = _QUOTED.split(arguments)  # quoted words at odd places
    pieces[::2] = [_SIZED.sub(r"'\1'", _HYPHEN.sub("_", piece)) for piece in pieces[::2]]
    try:
        call = ast.parse(f"f{''.join(pieces)}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(text) from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise _unreadable(text)
    return _said(name, call, text)


def made(said: Said, base: type, classes: Callable[[str], type]) -> Any:
    """An object of the class that `classes` knows by this name, made with its arguments.

    Arguments are checked against the annotations of the class; those that are of type `base` are
    made in the same way.
    """
    kind = classes(said.name)
    known = inspect.signature(kind).parameters
    hints = _hints(kind)
    inner = [name for name in known if _may_be(hints.get(name), base)]
    if len(said.given) > len(inner):
        shown = ", ".join(known) or "none, it takes no argument"
        named = f"{said.name}({next(iter(known))}=...)" if known else said.name
        raise ConfigError(
            f"{said.name} takes its arguments by name",
            value=said.text,
            limit=shown,
            fix=f"write {named!r}",
        )
    values = {**dict(zip(inner, said.given, strict=False))}
    for name, value in said.named.items():
        if name not in known:
            limit = ", ".join(known) or "none, it takes no argument"
            fix = nearest(name, known)
            raise ConfigError(f"{said.name} has no argument {name!r}", limit=limit, fix=fix)
        if name in values:
            raise ConfigError(f"{said.name} is given {name!r} twice", value=said.text)
        values[name] = value
    if lacking := [n for n, p in known.items() if p.default is p.empty and n not in values]:
        raise ConfigError(
            f"{said.name} needs the argument {lacking[0]!r}",
            value=said.text,
            limit=", ".join(known),
        )
    ready = {
        name: _fitted(said.name, name, value, hints.get(name, Any), base, classes)
        for name, value in values.items()
    }
    for name, value in ready.items():
        endless = isinstance(value, float) and math.isinf(value)
        if endless and known[name].default not in (math.inf, -math.inf):
            raise ConfigError(
                f"{said.name}: {name!r} does not fit", value=value, limit="a finite number"
            )
    try:
        return kind(**ready)
    except UnnoiseError as error:
        raise ConfigError(
            f"{said.name}: {error.message}", value=error.value, limit=error.limit, fix=error.fix
        ) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{said.name}: {error}", value=said.text) from error


def _sampler_class(name: str) -> type[Sampler]:
    kind = resolve(_spec(name))
    if not isinstance(kind, type) or not issubclass(kind, Sampler):
        raise ConfigError(f"sampler {name!r} is not an unnoise Sampler", value=kind)
    return kind


def _grid_class(name: str) -> type[Grid]:
    """By the name that users type, or by that of the class as a record has it."""
    kinds = [*map(type, grids.NAMED.values()), Strided]
    classes = {kind.__name__: kind for kind in kinds} | {"strided": Strided}
    return classes.get(name) or type(grids.named(name))


def _spec(name: str) -> Spec:
    """The spec of a sampler by its name, or by that of its class as a record has it."""
    known = specs_of("samplers")
    if normal(name) not in map(normal, known):
        classes = [spec for spec in known.values() if spec.target.rpartition(":")[2] == name]
        if len(classes) > 1:
            names = ", ".join(spec.name for spec in classes)
            raise PluginError(f"several samplers are a {name}", fix=f"use a name of {names}")
        if classes:
            return classes[0]
    return find("samplers", name)


def _said(name: str, call: ast.Call, text: str) -> Said:
    if any(argument.arg is None for argument in call.keywords):
        raise _unreadable(text)
    named = {argument.arg: _value(argument.value, text) for argument in call.keywords}
    if len(named) < len(call.keywords):
        raise ConfigError(f"{name} is given an argument twice", value=text)
    given = tuple(_value(argument, text) for argument in call.args)
    return Said(name, given, {str(key): value for key, value in named.items()}, text)


def _value(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Name):
        return math.inf if node.id == "inf" else Said(node.id, (), {}, node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _said(node.func.id, node, ast.unparse(node))
    try:
        return _listed(ast.literal_eval(node))
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise _unreadable(text) from error


def _listed(value: Any) -> Any:
    """Lists as the tuples that samplers hold."""
    return tuple(map(_listed, value)) if isinstance(value, (list, tuple)) else value


def _fitted(
    owner: str, name: str, value: Any, hint: Any, base: type, classes: Callable[[str], type]
) -> Any:
    """The value of one argument as its annotation wants it. Raises ConfigError."""
    if isinstance(value, Said):
        if _may_be(hint, base):
            return made(value, base, classes)
        if value.given or value.named:
            raise _misfit(owner, name, value.text, hint)
        value = value.name  # a word without quotes
    for kind in _options(hint):
        if isinstance(kind, type) and issubclass(kind, Enum) and isinstance(value, str):
            for member in kind:
                if value in (member.value, member.name):
                    return member
    try:
        return _adapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        raise _misfit(owner, name, value, hint) from error


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # pydantic allows no setting for a model, which has its own
        return TypeAdapter(hint)


def _options(hint: Any) -> tuple[Any, ...]:
    """The types that a union names, or the one type."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _may_be(hint: Any, base: type) -> bool:
    return any(isinstance(kind, type) and issubclass(kind, base) for kind in _options(hint))


def _hints(kind: type) -> dict[str, Any]:
    """Types of the arguments; none where annotations cannot be resolved."""
    try:
        if is_dataclass(kind):  # fields may come from a class of another module
            return get_type_hints(kind)
        return {
            n: p.annotation for n, p in inspect.signature(kind, eval_str=True).parameters.items()
        }
    except (NameError, TypeError, AttributeError):
        return {}


def _misfit(owner: str, name: str, value: object, hint: Any) -> ConfigError:
    found = [
        [repr(member.value) for member in kind]
        for kind in _options(hint)
        if isinstance(kind, type) and issubclass(kind, Enum)
    ]
    limit = ", ".join(found[0]) if found else _worded(hint)
    words = [word.strip("'") for word in found[0]] if found else map(str, get_args(hint))
    fix = nearest(str(value), words)
    return ConfigError(f"{owner}: {name!r} does not fit", value=value, limit=limit, fix=fix)


_KINDS: Final = {float: "a number", int: "a whole number", bool: "True or False", str: "a word"}


def _worded(hint: Any) -> str:
    """The values of a type in words."""
    parts = get_args(hint)
    if hint in _KINDS:
        return _KINDS[hint]
    if get_origin(hint) is Literal:
        return ", ".join(map(repr, parts))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_worded, parts))
    if get_origin(hint) is tuple and len(parts) == 2 and parts[1] is Ellipsis:
        return f"(one, or more, of: {_worded(parts[0])})"
    if get_origin(hint) is tuple:
        return f"({', '.join(map(_worded, parts))})"
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _unreadable(text: str) -> ConfigError:
    return ConfigError(
        "this is no name with arguments",
        value=text,
        limit="name, or name(argument=value, ...) with numbers and quoted words as values",
        fix="for example edm(churn=20)",
    )
