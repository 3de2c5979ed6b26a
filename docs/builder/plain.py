"""Each page as plain Markdown beside its HTML, and llms.txt, which lists them for machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ABOUT = (
    "A diffusion platform in Python: one small core that knows how data is destroyed and how it "
    "comes back, and plugins that bring the kinds of data."
)


def write(pages: Mapping[str, str], source: Path, out: Path) -> None:
    """Write NAME.md beside NAME.html, llms.txt and llms-full.txt.

    Parameters
    ----------
    pages : the Markdown of each page by its name, without suffix, in the order of the site.
    source : the folder that Sphinx read, with the pictures.
    out : the site.
    """
    lines, whole = [f"# unnoise\n\n> {ABOUT}\n"], []
    for name, text in pages.items():
        text = without_directives(text)
        path = out / f"{name}.md"
        path.write_text(text, encoding="utf-8")
        whole.append(f"<!-- {name}.md -->\n\n{text}")
        lines.append(f"- [{title(text)}]({name}.md): {_first_sentence(text)}")
    pictures = source / "_pictures"
    if pictures.is_dir():
        _copy(pictures, out / "_pictures")
    (out / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / "llms-full.txt").write_text("\n\n".join(whole), encoding="utf-8")


def title(markdown: str) -> str:
    """The first heading of a page."""
    found = re.search(r"^# (.+)$", markdown, re.MULTILINE)
    assert found, markdown[:80]
    return found[1]


def without_directives(text: str) -> str:
    """Tables of contents are Sphinx's and go; `{note}` blocks become quotations."""
    text = re.sub(r"^```\{toctree\}.*?^```\n", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\n{3,}", "\n\n", text)


def _first_sentence(text: str) -> str:
    body = re.sub(r"<!--.*?-->|^(`{3}).*?^\1$|^[#|!>*-].*$", "", text, flags=re.M | re.S)
    paragraph = next((p for p in re.split(r"\n\s*\n", body) if p.strip()), "")
    words = " ".join(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraph).split())
    return re.split(r"(?<=[.:])\s", words)[0]


def _copy(source: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    for path in source.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
