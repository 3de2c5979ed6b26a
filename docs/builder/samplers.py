"""A page for each sampler and one for the grids: from docstrings, specs and measurements."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any, Final

from builder import results
from builder.docstrings import escaped, markdown
from builder.reference import own_doc, signature
from unnoise.discovery import registry
from unnoise.samplers import grids

TABLES: Final = ("order", "order-2", "order-3")

_TEXT = Path(__file__).with_name("when.md").read_text(encoding="utf-8")
WHEN: Final = {
    part.partition("\n")[0].strip(): part.partition("\n")[2].strip()
    for part in _TEXT.split("\n## ")[1:]
}
"""When to use a sampler, by its name. A page without an entry here says nothing of that."""


def pages() -> dict[str, str]:
    """The Markdown of the page of each sampler by its name."""
    return {f"samplers/{name}": _page(spec) for name, spec in registry.specs_of("samplers").items()}


def overview() -> str:
    """A table of all samplers, with links to their pages."""
    specs = registry.specs_of("samplers")
    rows = [
        f"| [{name}](/samplers/{name}.md) | {escaped(spec.summary)} | {escaped(spec.requires)} "
        f"| `{spec.evaluations or 'varies'}` | `{spec.order}` | {_yes(spec.stochastic)} |"
        for name, spec in specs.items()
    ]
    table = ["| sampler | what | kernel | calls a step | order | noise |", "|---" * 6 + "|", *rows]
    tree = ["", "```{toctree}", ":hidden:", "", "grids", *specs, "```"]
    return "\n".join([*table, *tree])


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _page(spec: Any) -> str:
    kind = _target(spec.target)
    module = importlib.import_module(kind.__module__)
    facts = [
        f"needs {spec.requires or 'any kernel'}",
        f"{spec.evaluations or 'a varying number of'} evaluations a step",
        f"order {spec.order}",
        "draws noise" if spec.stochastic else "deterministic",
    ]
    parts = [f"# {spec.name}", f"*{escaped(spec.summary)}: {', '.join(facts)}.*"]
    if spec.name in WHEN:
        parts += ["## When", WHEN[spec.name]]
    shell = f"unnoise generate DOMAIN --sampler {spec.name}"
    parts += ["## How", f"```sh\n{shell}\n```", f"```python\n{signature(kind.__name__, kind)}\n```"]
    parts += ["## What it does", markdown(module.__doc__ or ""), markdown(own_doc(kind))]
    if rows := measured(spec.name):
        words = f"Error of {spec.name} against evaluations, beside the other samplers in grey"
        parts += ["## What it costs, and what that buys"]
        parts += [f"<!-- figure: order-{spec.name} | {words} -->"]
        for result, own in rows:
            lines = ["| as | " + " | ".join(result.columns[1:]) + " |"]
            lines.append("|---" * len(result.columns) + "|")
            lines += ["| " + " | ".join(row) + " |" for row in own]
            parts += [
                "\n".join(lines),
                f"*{result.title}; evaluations in brackets. {result.origin}*",
            ]
    return "\n\n".join(part for part in parts if part) + "\n"


def measured(name: str) -> list[tuple[results.Result, list[list[str]]]]:
    """The rows of the measured tables that are about a sampler, with any arguments."""
    found = []
    for table in map(results.load, TABLES):
        own = [row for row in table.rows if re.split(r"\W(?=\(|`)|\(|`", row[0])[1] == name]
        if own:
            found.append((table, own))
    return found


def points(row: list[str]) -> list[tuple[float, float]]:
    """(evaluations, error) of the cells of a row."""
    pairs = [re.fullmatch(r"(\S+) \((\S+)\)", cell) for cell in row[1:]]
    return [(float(pair[2]), float(pair[1])) for pair in pairs if pair]


def grid_kinds() -> str:
    """What the module of the grids says, and each kind of grid."""
    parts = [markdown(grids.__doc__ or "")]
    for name, kind in vars(grids).items():
        if _is_grid(kind):
            doc = markdown(own_doc(kind))
            parts += [f"## {name}", f"```python\n{signature(name, kind)}\n```", doc]
    return "\n\n".join(parts)


def _is_grid(value: Any) -> bool:
    kind = inspect.isclass(value) and issubclass(value, grids.Grid) and value is not grids.Grid
    return kind and value.__module__ == grids.__name__


def _target(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
