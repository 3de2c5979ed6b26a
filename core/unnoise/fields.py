"""Keywords as pydantic models: what pydantic refuses becomes one error of ours.

For plugins: `configured(Configuration, options)` in `Trainable.configure`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from unnoise.errors import ConfigError, InputError, nearest
from unnoise.specs import Only

M = TypeVar("M", bound=BaseModel)

_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def configured(kind: type[M], options: Mapping[str, Any], also: Iterable[str] = ()) -> M:
    """`kind(**options)`, a configuration. Raises ConfigError.

    `also` names options that are accepted elsewhere, for the suggestion only.
    """
    try:
        return kind(**options)
    except ValidationError as error:
        raise refused(error, (*kind.model_fields, *also)) from error


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
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else kind.__name__
        places = [str(part) for part in first["loc"][1:] if isinstance(part, int)]
        field = kind.model_fields.get(name)
        raise InputError(
            f"request field {'.'.join([name, *places])!r}: {first['msg']}",
            value=first["input"],
            limit=_limit(first.get("ctx", {})),
            fix="" if field is None or field.description is None else field.description,
        ) from error


def refused(error: ValidationError, names: Iterable[str]) -> ConfigError:
    """The first complaint of a pydantic error about a configuration."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or error.title
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return unknown(name, names)
    if first["type"] == "missing":
        return ConfigError(f"option {name!r} is missing{more}", fix=f"pass {name}=...")
    return ConfigError(
        f"option {name!r} cannot be used: {first['msg']}{more}", value=first.get("input")
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


def _limit(context: Mapping[str, Any]) -> str | None:
    found = [f"{sign} {context[name]}" for name, sign in _SIGNS.items() if name in context]
    return " and ".join(found) or None
