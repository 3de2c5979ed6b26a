"""`unnoise new`: a plugin of one's own, to begin with."""

from __future__ import annotations

from pathlib import Path

from unnoise.scaffold import Kind, new_plugin


def new(name: str, /, *, kind: Kind = "domain", out: Path = Path()) -> str:
    """Write a plugin that installs, is found, works and tests itself.

    Parameters
    ----------
    name
        What users will type; the distribution is unnoise-NAME.
    kind
        What it brings: a domain, a kernel with a parametrization and a toy domain, a sampler, a
        space, a codec or a schedule.
    out
        The folder that it is written into.
    """
    made = new_plugin(name, kind, out)
    shown = name if kind != "domain" else f"{name} && unnoise generate {name}"
    return f"{made}: pip install -e {made} && unnoise plugins check {shown}"
