"""The demo: one page that shows what every installed domain makes, and how to make it again.

Each domain that ships a model generates from it with the request that it declares for the purpose
(`Domain.demo`), through the same functions that users call. The page is a single file that needs
no network. A domain that fails is on the page with its error, and costs the others nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from unnoise.demo.page import GENERATOR, page
from unnoise.demo.section import Failed, Section, section_of
from unnoise.discovery import registry
from unnoise.errors import InputError, PluginError
from unnoise.storage.files import disk_errors, removed_unused, replace_file, writable_folder

__all__ = ["run_demo"]

INDEX = "index.html"


def run_demo(
    out: str | Path = "unnoise-demo",
    report: Callable[[str], None] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Path:
    """Write the demo page of all installed domains and return its path.

    Parameters
    ----------
    out : the folder of the page, created if need be; an earlier page in it is replaced.
    report : called with one line of text when a domain is finished: what came of it, seconds.
    progress : called with a domain's name and the part of its work that is done, 0 to 1.

    Raises
    ------
    InputError : before any work, when the folder cannot be written, or holds an `index.html` that
        is not a demo page.
    PluginError : no domain is installed, or each one failed; then the page says why.
    LimitExceeded : the disk is full.
    """
    folder = Path(out)
    with removed_unused(folder):
        writable_folder(folder)
        _refuse_foreign(folder / INDEX)
        return _written(folder, report, progress)


def _written(
    folder: Path,
    report: Callable[[str], None] | None,
    progress: Callable[[str, float], None] | None,
) -> Path:
    begun = time.perf_counter()
    found = registry.domains()
    if not found:
        raise PluginError(
            "there is nothing to show: no domain is installed", fix="pip install unnoise-images"
        )
    width = max(map(len, found))
    sections = []
    for name, info in found.items():
        section = section_of(info, progress)
        sections.append(section)
        if report is not None:
            report(_line(section, f"{name:<{width}}"))
    html = page(sections, registry.plugins(), time.perf_counter() - begun)
    with disk_errors("writing the demo page"):
        replace_file(folder / INDEX, html.encode())
    if all(isinstance(section.result, Failed) for section in sections):
        raise PluginError(
            "no domain could be shown", value=list(found), fix=f"open {folder / INDEX}"
        )
    return folder / INDEX


def _line(section: Section, name: str) -> str:
    return f"{name}  {section.outcome}, {section.seconds:.1f} s"


def _refuse_foreign(path: Path) -> None:
    """A page that somebody else made is not overwritten."""
    if not path.exists():
        return
    with disk_errors(f"reading {str(path)!r}"):
        mine = GENERATOR in path.read_text(encoding="utf-8", errors="replace")[:4096]
    if not mine:
        raise InputError(
            f"{str(path)!r} is not a demo page and will not be replaced",
            fix="choose another folder, out=...",
        )
