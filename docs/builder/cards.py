"""Model cards: what a shipped model was made from, as its bundle says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from builder.docstrings import escaped

ROOT = Path(__file__).parents[2]
_FIRST = ("data", "licence", "split", "command")


def bundles() -> Iterator[Path]:
    """Folders of this repository with the weights of a model, in order."""
    for pattern in (
        "plugins/*/unnoise_*/*/model.safetensors",
        "examples/*/*/bundle/model.safetensors",
    ):
        yield from sorted(path.parent for path in ROOT.glob(pattern))


def pages() -> dict[str, str]:
    """The page of all cards."""
    about = (
        "What each model in a wheel was made from, as `config.json` or `card.json` beside its "
        "weights says it. `unnoise bundle` refuses a model without data, licence, split and "
        "command; cards from before that rule are shown as they are."
    )
    parts = ["# Model cards", about, *(_card(folder) for folder in bundles())]
    return {"models": "\n\n".join(parts) + "\n"}


def _card(folder: Path) -> str:
    beside, config = folder / "card.json", folder / "config.json"
    if beside.is_file():
        card = json.loads(beside.read_text(encoding="utf-8"))
    else:
        card = json.loads(config.read_text(encoding="utf-8")).get("card", {})
    weights = folder / "model.safetensors"
    with safe_open(weights, "np") as file:
        count = sum(_size(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    rows = [
        ("folder", f"`{folder.relative_to(ROOT)}`"),
        ("weights", f"`{count:,}` numbers, `{weights.stat().st_size / 1e6:.1f}` MB"),
        *((key, _said(key, card[key])) for key in _FIRST if key in card),
    ]
    lines = ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)]
    more = {k: v for k, v in card.items() if k not in _FIRST}
    shown = [f"## {name(folder)}", "\n".join(lines)]
    if more:
        shown.append(f"```json\n{json.dumps(more, indent=1, ensure_ascii=False)}\n```")
    if missing := [key for key in _FIRST if key not in card]:
        shown.append(f"The card does not say: {', '.join(missing)}.")
    return "\n\n".join(shown)


def name(folder: Path) -> str:
    """The plugin, and the folder where it is no plain bundle."""
    plugin = folder.parent.name.removeprefix("unnoise_")
    return plugin if folder.name == "bundle" else f"{plugin}: {folder.name}"


def _said(key: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text.replace('|', '/')}`" if key == "command" else escaped(text)


def _size(shape: list[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
