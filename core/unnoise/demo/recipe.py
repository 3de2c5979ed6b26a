"""A request as people would write it: one command line, a few lines of Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from unnoise.errors import ConfigError

_WIDTH = 60


def command_line(
    name: str, arguments: Mapping[str, Any], request: type[BaseModel], *, out: str
) -> str:
    """The `unnoise generate` that makes the same samples.

    Raises ConfigError for a value that a command line cannot say.
    """
    words = ["unnoise", "generate", shlex.quote(name)]
    for key, value in arguments.items():
        words += _flag(key, value, request)
    return " ".join([*words, "--out", shlex.quote(out)])


def python_lines(name: str, arguments: Mapping[str, Any], *, out: str) -> str:
    """The lines of Python that make the same samples."""
    given = [_literal(name), *(f"{key}={_literal(value)}" for key, value in arguments.items())]
    call = f"out = unnoise.generate({', '.join(given)})"
    if len(call) > _WIDTH:
        call = "out = unnoise.generate(\n" + "".join(f"    {item},\n" for item in given) + ")"
    return f"import unnoise\n\n{call}\nout.save({_literal(out)})"


def _literal(value: Any) -> str:
    """Python source, with double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)


def _flag(key: str, value: Any, request: type[BaseModel]) -> list[str]:
    flag = f"--{key.replace('_', '-')}"
    if isinstance(value, bool):
        if value:
            return [flag]
        field = request.model_fields.get(key)
        return [f"--no-{flag[2:]}"] if field is not None and field.default is True else []
    items = list(value) if isinstance(value, list | tuple) else [value]
    if not items or not all(isinstance(item, int | float | str) for item in items):
        raise ConfigError(
            f"the demo's argument {key!r} cannot be given on a command line",
            value=value,
            limit="a number, a word, true or false, or a list of numbers or words",
        )
    texts = [str(item) for item in items]
    if any(text.startswith("-") for text in texts):  # not to be read as a flag
        return [shlex.quote(f"{flag}={text}") for text in texts]
    return [flag, *(shlex.quote(text) for text in texts)]
