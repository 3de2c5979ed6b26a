"""`unnoise bundle RUN --into PLUGIN`: a trained model into the plugin that ships it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from unnoise.scaffold.wheel import LARGEST, bundle_into


def bundle(
    run: Path,
    /,
    *,
    into: Path,
    card: dict[str, str] | None = None,
    precision: Literal["float32", "float16"] = "float32",
    most: float = LARGEST,
) -> str:
    """Put a trained model into the sources of a plugin, from which its wheel takes it.

    Parameters
    ----------
    run
        The folder of a run, or another bundle.
    into
        The plugin's sources, installed by pip install -e.
    card
        Entries of the model's card: --card.data, --card.licence, --card.split, --card.command.
    precision
        In float16 the weights are rounded, and half as large.
    most
        Megabytes that the weights may have.
    """
    found = bundle_into(run, into, card=card, precision=precision, most=most)
    return f"{found.folder}: {found.size / 1e6:.2f} MB; {found.wheel}"
