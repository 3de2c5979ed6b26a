"""Keywords as pydantic models: what pydantic refuses becomes one error of ours.

For plugins: `configured(Configuration, options)` in `Trainable.configure`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from unnoise.errors import ConfigError, InputError, UnnoiseError, nearest
from unnoise.specs import Only

M = TypeVar("M", bound=BaseModel)

_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "tuple": "several values",
    "list": "a list",
    "dict": "names with values",
}
"""Of what pydantic wants, by the first word of the type of its error."""
_BRANCHES = ("bool", "float", "int", "str")  # of a union, which pydantic puts into a place


def configured(kind: type[M], options: Mapping[str, Any], also: Iterable[str] = ()) -> M:
    """`kind(**options)`, a configuration. Raises ConfigError.

    `also` names options that are accepted elsewhere, for the suggestion only.
    """
    _check_plain(kind, options, ConfigError)
    try:
        return kind(**options)
    except ValidationError as error:
        raise refused(error, kind, also) from error


def requested(kind: type[M], fields: Mapping[str, Any], also: Iterable[str] = ()) -> M:
    """`kind(**fields)`, a request. Raises InputError; `also` as in `configured`."""
    known = [*kind.model_fields, *also]
    for name in fields:
        if name not in kind.model_fields:
            raise InputError(
                f"unknown request field {name!r}",
                limit=", ".join(sorted(set(known))),
                fix=nearest(name, known),
            )
    _check_plain(kind, fields, InputError)
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise InputError(_together(first, kind)) from error
        name = str(first["loc"][0])
        places = [str(part) for part in first["loc"][1:] if isinstance(part, int)]
        field = kind.model_fields.get(name)
        raise InputError(
            f"request field {'.'.join([name, *places])!r}: {_said(first)}",
            value=_value(first["input"]),
            limit=_limit(first, field),
            fix=_about(field),
        ) from error


def refused(error: ValidationError, kind: type[BaseModel], also: Iterable[str] = ()) -> ConfigError:
    """The first complaint of a pydantic error about a configuration of this kind."""
    first = error.errors()[0]
    parts = [part for part in first["loc"] if isinstance(part, str)]
    name = ".".join(part for part in parts if part.isidentifier() and part not in _BRANCHES)
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return unknown(name, (*kind.model_fields, *also))
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return ConfigError(f"option {name!r} is missing{more}", fix=f"pass {name}=...")
    if not name:
        return ConfigError(_together(first, kind))
    field = kind.model_fields.get(str(first["loc"][0]))
    return ConfigError(
        f"option {name!r} cannot be used: {_said(first)}{more}",
        value=_value(first.get("input")),
        limit=_limit(first, field),
        fix=_about(field),
    )


def unknown(name: str, names: Iterable[str]) -> ConfigError:
    """The error for an option that nobody knows."""
    known = sorted(set(names))
    return ConfigError(f"unknown option {name!r}", limit=", ".join(known), fix=nearest(name, known))


def check_read(configuration: BaseModel, given: Mapping[str, Any]) -> None:
    """ConfigError for an option of a run that its completed configuration does not read, see
    `unnoise.specs.Only`; None stands for what is not given."""
    for name, field in type(configuration).model_fields.items():
        if given.get(name) is None:
            continue
        for only in field.metadata:
            if isinstance(only, Only):
                found = getattr(configuration, only.option)
                if not (found in only.values if only.values else found):
                    raise _not_read(name, given[name], only, found)


def _not_read(name: str, value: object, only: Only, found: object) -> ConfigError:
    option = f"option {name!r} is not read by this run"
    fix = "leave it out"
    if only.because:
        return ConfigError(f"{option}: {only.because}", value=value, fix=fix)
    if not only.values:
        return ConfigError(f"{option}, which has no {only.option}", value=value, fix=fix)
    named = " or ".join(map(str, only.values))
    return ConfigError(
        f"{option}: it belongs to {only.option} {named}, and {only.option} is {found}",
        value=value,
        fix=f"{fix}, or choose {'that' if len(only.values) == 1 else 'another'} {only.option}",
    )


def _check_plain(
    kind: type[BaseModel], given: Mapping[str, Any], error: type[UnnoiseError]
) -> None:
    """Refuse what pydantic would take in silence: True for the number 1, and a set, which has no
    order, for a list."""
    for name, value in given.items():
        if name not in kind.model_fields:
            continue
        field = kind.model_fields[name]
        kinds = _leaves(field.annotation)
        if kinds & {Any, object}:
            continue
        if isinstance(value, (set, frozenset)) and not kinds & {set, frozenset}:
            raise error(f"{name} is a set, which has no order", value=value, fix="pass a list")
        values = value if isinstance(value, (list, tuple)) else [value]
        if kinds & {int, float} and not any(one is bool or type(one) is bool for one in kinds):
            for one in values:
                if isinstance(one, bool):
                    raise error(
                        f"{name} is a number, not true or false", value=one, fix=_about(field)
                    )


def _leaves(annotation: Any) -> set[Any]:
    """The types and literals that an annotation is made of."""
    inner = get_args(annotation)
    own = {annotation, get_origin(annotation)} if isinstance(annotation, Hashable) else set()
    return own.union(*(_leaves(one) for one in inner if isinstance(one, Hashable)))


def _said(first: Any) -> str:
    return str(first["msg"]).removeprefix("Value error, ")


def _about(field: FieldInfo | None) -> str:
    return "" if field is None or field.description is None else field.description


def _value(given: Any) -> Any:
    """A value for a message, where None is one that somebody gave."""
    return "None" if given is None else given


def _together(first: Any, kind: type[BaseModel]) -> str:
    """What is wrong with fields that do not go together, with the values of those that it names."""
    given, said = first.get("input"), set(re.findall(r"\w+", first["msg"]))
    given = given if isinstance(given, Mapping) else {}
    found = [
        f"{name}={given.get(name, field.default)!r}"
        for name, field in kind.model_fields.items()
        if name in said and not field.is_required()
    ]
    return f"{_said(first)}{'; got ' if found else ''}{', '.join(found)}"


def _limit(first: Any, field: FieldInfo | None) -> str | None:
    """What would have been accepted, as far as pydantic says: the kind, and all bounds of a field
    that is one number."""
    context = first.get("ctx", {})
    kind, _, more = str(first["type"]).partition("_")
    if first["type"] == "literal_error":
        return str(context["expected"])
    if more in ("short", "long"):
        return " and ".join(
            f"{sign} {context[name]} values"
            for name, sign in (("min_length", ">="), ("max_length", "<="))
            if context.get(name) is not None
        )
    if first["type"] == "missing" and field is not None:  # too few values of a tuple
        several = get_origin(field.annotation) is tuple
        return f"{len(get_args(field.annotation))} values" if several else None
    bounds = {name: context[name] for name in _SIGNS if name in context}
    for one in field.metadata if field is not None and len(first["loc"]) == 1 else ():
        own = {name: getattr(one, name, None) for name in _SIGNS}
        bounds |= {name: value for name, value in own.items() if value is not None}
    found = [f"{sign} {bounds[name]}" for name, sign in _SIGNS.items() if name in bounds]
    if (
        kind == "string" and len(first["loc"]) > 1
    ):  # one of several kinds, of which text is the last
        return None
    return " and ".join(filter(None, [_KINDS.get(kind, ""), *found])) or None
