"""The reference: a page for each public module, made of signatures and docstrings."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import Any, Final

from builder.docstrings import escaped, markdown

MODULES: Final = (
    "unnoise",
    "unnoise.spaces",
    "unnoise.distributions",
    "unnoise.noise",
    "unnoise.kernels",
    "unnoise.denoise",
    "unnoise.codecs",
    "unnoise.samplers",
    "unnoise.samplers.grids",
    "unnoise.conditioning",
    "unnoise.calibration",
    "unnoise.objectives",
    "unnoise.domain",
    "unnoise.display",
    "unnoise.windows",
    "unnoise.trajectory",
    "unnoise.model",
    "unnoise.specs",
    "unnoise.errors",
    "unnoise.testing",
)
"""What a user or an author of a plugin imports, from the bottom up."""


def pages() -> dict[str, str]:
    """The Markdown of each page by its name."""
    found = {f"reference/{name}": module_page(name) for name in MODULES}
    rows = [
        f"| [{name}]({name}.md) | {escaped(_first(importlib.import_module(name)))} |"
        for name in MODULES
    ]
    intro = "What may be imported, from the bottom up. All of it is made from the docstrings."
    table = "\n".join(["| module | what |", "|---|---|", *rows])
    tree = "\n".join(["```{toctree}", ":hidden:", "", *MODULES, "```"])
    return {"reference/index": f"# Python\n\n{intro}\n\n{table}\n\n{tree}\n", **found}


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Names that a module exports, in the order in which its source defines or lists them.

    `__all__` where there is one, else what is defined in the module itself and is not private.
    """
    names = getattr(module, "__all__", None)
    own = names is None
    for name in names if names is not None else list(vars(module)):
        value = getattr(module, name)
        if own and (name.startswith("_") or getattr(value, "__module__", None) != module.__name__):
            continue
        if inspect.isclass(value) or inspect.isroutine(value):
            yield name, value


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that a class defines itself."""
    for name, value in vars(kind).items():
        plain = getattr(value, "__func__", value)
        if name.startswith("_") and name != "__call__":
            continue
        if isinstance(value, property) or inspect.isfunction(plain):
            yield name, value


def module_page(name: str) -> str:
    module = importlib.import_module(name)
    parts = [f"# {name}", markdown(module.__doc__ or "")]
    for title, value in public(module):
        parts.append(f"## {title}")
        parts += list(_entry(title, value))
    return "\n\n".join(parts) + "\n"


def _entry(title: str, value: Any) -> Iterator[str]:
    yield f"```python\n{signature(title, value)}\n```"
    yield markdown(own_doc(value))
    if isinstance(value, type) and issubclass(value, Enum):
        yield "\n".join(f"- `{member.name}` = `{member.value!r}`" for member in value)
    elif isinstance(value, type):
        for name, member in members(value):
            if text := own_doc(member):
                yield f"### {title}.{name}"
                yield f"```python\n{signature(name, member)}\n```"
                yield markdown(text)


def own_doc(value: Any) -> str:
    """The docstring that somebody wrote, without the ones that Python makes or inherits."""
    plain = getattr(value, "__func__", value)
    text = getattr(plain, "__doc__", None) or ""
    if dataclasses.is_dataclass(value) and isinstance(value, type):
        made = f"{value.__name__}("
        return "" if text.startswith(made) else text
    return text


def signature(name: str, value: Any) -> str:
    """How it is called, with short annotations, one argument a line when it is long."""
    plain = getattr(value, "__func__", value)
    if isinstance(value, property):
        hint = inspect.signature(value.fget).return_annotation if value.fget else ""
        return f"{name}: {_short(hint)}"
    if isinstance(value, type) and (issubclass(value, (Enum, Exception))):
        return f"class {name}"
    try:
        found = inspect.signature(plain)
    except (TypeError, ValueError):
        return f"class {name}"
    items = []
    for at, item in enumerate(_with_marks(found)):
        if not (at == 0 and item in ("self", "cls")):
            items.append(item)
    head = f"class {name}" if isinstance(value, type) else f"def {name}"
    end = found.return_annotation
    tail = "" if end is inspect.Signature.empty or isinstance(value, type) else f" -> {_short(end)}"
    line = f"{head}({', '.join(items)}){tail}"
    if len(line) <= 88:
        return line
    return f"{head}(\n" + "".join(f"    {item},\n" for item in items) + f"){tail}"


def _with_marks(found: inspect.Signature) -> Iterator[str]:
    """The arguments with `/` and `*` where they belong."""
    kinds = inspect.Parameter
    before: Any = None
    for item in found.parameters.values():
        if before == kinds.POSITIONAL_ONLY and item.kind != kinds.POSITIONAL_ONLY:
            yield "/"
        if item.kind == kinds.KEYWORD_ONLY and before not in (kinds.VAR_POSITIONAL, item.kind):
            yield "*"
        mark = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(item.kind, "")
        text = mark + item.name
        if item.annotation is not kinds.empty:
            text += f": {_short(item.annotation)}"
        if item.default is not kinds.empty:
            equals = " = " if item.annotation is not kinds.empty else "="
            text += equals + _default(item.default)
        before = item.kind
        yield text


def _default(value: Any) -> str:
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    text = getattr(value, "__name__", None) or repr(value)
    return "..." if " at 0x" in text or "factory" in text or len(text) > 60 else text


def _short(annotation: Any) -> str:
    """An annotation as it is read: without modules."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"Annotated\[([\w.| ]+),[^\]]*\]", r"\1", text)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text).strip("'\"")


def _first(module: ModuleType) -> str:
    """The first sentence of a module's docstring."""
    return " ".join(re.split(r"(?<=\.)\s|\n\n", module.__doc__ or "")[0].split())
