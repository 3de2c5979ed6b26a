"""The parser: cyclopts, with commands imported when they are called.

`flags` makes the command line of a pydantic model, so that a domain's request or configuration is
declared once and has its flags, their help and their defaults from there. What cyclopts cannot
read from words (a picture, a tensor) is handed on as the text that was given, and the model's own
validation decides.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import reduce
from operator import or_
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import App, CycloptsError, Group, Parameter
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from unnoise.errors import InputError
from unnoise.specs import FromData

Command = Callable[..., str | int | None] | Mapping[str, Callable[..., str | int | None]]

_STYLE: Any = {
    "version_flags": (),
    "help_format": "plaintext",
    "default_parameter": Parameter(negative=(), consume_multiple=True),
}
_SECTIONS = {"Common": 0, "Training": 2}  # of the help page; a domain's own comes between
_SCALARS = (bool, float, str, Path)


class _Whole(int):
    """Reads a whole number, as 12 or 0xff: cyclopts' own reading of int takes 2.6 for 3."""

    def __new__(cls, word: str) -> int:  # type: ignore[misc]  # what was read is an int
        return int(word, 0) if word.lstrip("+-")[:1] == "0" and not word.isdecimal() else int(word)


class _Written(int):
    """Reads a whole number that is written as numbers are: where any word will do, 03 is a word."""

    def __new__(cls, word: str) -> int:  # type: ignore[misc]  # what was read is an int
        if str(number := int(word)) != word:
            raise ValueError("not as a number is written")
        return number


_Whole.__name__ = _Written.__name__ = "int"  # as it is called in a help page


def run(name: str, command: Command, words: Sequence[str]) -> str | int:
    """Call a function, or the one of several that the first word names, with its words parsed."""
    app = App(name=f"unnoise {name}", **_STYLE)
    if callable(command):
        app.default(command)
    else:
        for word, function in command.items():
            app.command(function, name=word)
    app["--help"].show = False
    answer = _call(app, words)
    return 0 if answer is None else answer


def parse(
    name: str, about: str, flags: Iterable[inspect.Parameter], words: Sequence[str]
) -> dict[str, Any] | None:
    """The flags that were given, by parameter name; None when --help was asked for and shown."""

    values = reader(name, about, flags)(words)
    return values if isinstance(values, dict) else None


def reader(
    name: str, about: str, flags: Iterable[inspect.Parameter]
) -> Callable[[Sequence[str]], Any]:
    """Reads words as `parse` does, many times over."""

    def given(**values: Any) -> dict[str, Any]:
        return values

    flags = list(flags)
    given.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]  # PEP 362
    given.__doc__ = about
    app = App(name=name, **_STYLE)
    app.default(given)
    app["--help"].show = False

    def read(words: Sequence[str]) -> Any:
        _refuse_nowhere(flags, words)
        return _call(app, words)

    return read


def flag(
    name: str, annotation: Any, about: str, default: Any = None, group: str = "Common", **how: Any
) -> inspect.Parameter:
    """One flag. Without a default (`inspect.Parameter.empty`) it must be given."""
    if default is None:  # "not given", which cyclopts checks against the type, too
        annotation = annotation | None
    if default is False:
        how["show_default"] = False
    if annotation is bool and default is True:
        how["negative"] = f"--no-{name.replace('_', '-')}"
    section = Group(group, sort_key=_SECTIONS.get(group, 1))
    parameter = Parameter(help=about, group=section, **how)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[annotation, parameter],
        default=default,
    )


def flags(
    model: type[BaseModel], group: str, skip: Iterable[str] = (), *, required: bool = True
) -> list[inspect.Parameter]:
    """A flag for every field of `model` that is neither in `skip` nor decided by the data."""
    return [
        _of_field(name, field, group, required)
        for name, field in model.model_fields.items()
        if name not in set(skip) and not any(isinstance(m, FromData) for m in field.metadata)
    ]


def tidy(model: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """One word for a field that takes one value or a list of them is the value, not a list."""

    def single(name: str, value: Any) -> Any:
        field = model.model_fields.get(name)
        if field is None or not isinstance(value, list) or len(value) != 1:
            return value
        return value[0] if _takes_one(field.annotation) else value

    return {name: single(name, value) for name, value in values.items()}


def _call(app: App, words: Sequence[str]) -> Any:
    try:
        return app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        raise InputError(str(error).rstrip("."), fix=f"see {app.name[0]} --help") from error


def _refuse_nowhere(flags: Iterable[inspect.Parameter], words: Sequence[str]) -> None:
    """An empty word for a path, which a shell makes of $OUT where nothing is in it, would be the
    folder one is in."""
    paths = {f"--{f.name.replace('_', '-')}" for f in flags if Path in _members(_kind(f))}
    for word, after in zip(words, [*words[1:], None], strict=False):
        name, sign, value = word.partition("=")
        if name in paths and (value if sign else after) == "":
            raise InputError(f"{name} is empty", value="", fix="name it; . is the folder here")


def _kind(parameter: inspect.Parameter) -> Any:
    return get_args(parameter.annotation)[0]


def _of_field(name: str, field: FieldInfo, group: str, required: bool) -> inspect.Parameter:
    default: Any = inspect.Parameter.empty if required and field.is_required() else None
    if not field.is_required() and not callable(field.default_factory):
        default = field.default
    annotation = _readable(field.annotation)
    if isinstance(default, BaseModel):  # no word would read as it
        default = None
    if get_origin(annotation) is list and isinstance(default, (str, int, float)):
        default = [default]  # one value stands for a list of one, here too
    about = " ".join(filter(None, [field.description, _limits(field)]))
    shown = {"show_default": False} if default == "" or default == [""] else {}
    return flag(name, annotation, about, default, group, **shown)


def _limits(field: FieldInfo) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    limits = [
        (sign, getattr(r, name, None)) for r in field.metadata for name, sign in signs.items()
    ]
    found = [
        f"{sign} {limit}"
        for sign, limit in limits
        if isinstance(limit, (int, float)) and abs(limit) < 10**9  # larger ones are no help
    ]
    return f"({', '.join(found)})" if found else ""


def _readable(annotation: Any) -> Any:
    """The nearest type that can be read from words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _readable(arguments[0])
    if origin in (Union, UnionType):
        options = {_readable(option): None for option in arguments if option is not NoneType}
        many = [option for option in options if get_origin(option) in (list, tuple, dict)]
        if many:
            # one value may stand for a list of one: it is read as itself, if it can be
            one = [option for option in options if option in (bool, _Whole, float)]
            listed = get_origin(many[0]) is list and get_args(many[0])[0] is not str
            return list[_any_of([*one, *_members(get_args(many[0])[0])])] if listed else many[0]  # type: ignore[misc]  # a type built at run time
        if NoneType in arguments and str not in options:
            options[NoneType] = None  # read from the word none, which may also be somebody's text
        return _any_of(options)
    if annotation is int:
        return _Whole
    if origin is Literal or annotation in _SCALARS:
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return annotation
    if origin is tuple and Ellipsis not in arguments:
        return tuple[tuple(_readable(item) for item in arguments)]  # type: ignore[misc]  # a type built at run time
    if origin in (dict, Mapping):
        return dict[str, _readable(arguments[1])]  # type: ignore[misc]  # a type built at run time
    if origin in (list, tuple, set, frozenset, Sequence, Iterable):
        return list[_readable(arguments[0])]  # type: ignore[misc]  # a type built at run time
    return str


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _any_of(kinds: Iterable[Any]) -> Any:
    """The union, str last, for any word is one; beside it 3 is a number, and 03 a word."""
    options = dict.fromkeys(kinds)
    if str not in options:
        return reduce(or_, options)
    others = [_Written if option is _Whole else option for option in options if option is not str]
    return reduce(or_, [*dict.fromkeys(others), str])


def _takes_one(annotation: Any) -> bool:
    """Whether the annotation is a union of lists and something else."""
    options = [o for o in get_args(annotation) if o is not type(None)]
    united = get_origin(annotation) in (Union, UnionType)
    if len(options) == 1 and get_origin(options[0]) is Annotated:
        return _takes_one(get_args(options[0])[0])
    return united and any(get_origin(_readable(option)) is None for option in options)
