"""Plain text for people and pipes, and JSON for programs."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    """Aligned columns, the last one wrapped to the terminal's width; `empty` when no row is there.

    Written by hand because importing a library for it takes longer than the whole command.
    """
    if not rows:
        return empty
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) - 1)]
    indent = sum(widths) + 2 * len(widths)
    room = max(shutil.get_terminal_size((100, 24)).columns - indent, 30)
    texts = []
    for line in lines:
        head = "".join(f"{cell:<{width}}  " for cell, width in zip(line, widths, strict=False))
        tail = textwrap.wrap(line[-1], room) or [""]
        texts += [(head + tail[0]).rstrip(), *(" " * indent + more for more in tail[1:])]
    return "\n".join(texts)


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
