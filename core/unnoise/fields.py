"""Keywords as pydantic models: what pydantic refuses becomes one error of ours.

For plugins: `configured(Configuration, options)` in `Trainable.configure`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from unnoise.errors import ConfigError, InputError, nearest

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


def _limit(context: Mapping[str, Any]) -> str | None:
    found = [f"{sign} {context[name]}" for name, sign in _SIGNS.items() if name in context]
    return " and ".join(found) or None
