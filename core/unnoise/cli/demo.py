"""`unnoise demo`: one page with samples of every installed domain."""

from __future__ import annotations

from pathlib import Path

from unnoise.cli.progress import bar
from unnoise.demo import run_demo


def demo(*, out: Path = Path("unnoise-demo")) -> str:
    """Generate from the shipped model of every installed domain, and write one page about it.

    Parameters
    ----------
    out
        Folder of the page.
    """
    with bar() as show:
        page = run_demo(out, report=lambda line: print(line, flush=True), progress=show)
    return f"open {page}"
