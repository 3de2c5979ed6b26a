"""The pages as plain Markdown: what is typed in `docs/pages`, what is generated, pictures beside.

A line of a page that is a comment of one of these kinds is replaced:

    <!-- result: NAME -->          the table of docs/results/NAME.json and where it is from
    <!-- figure: NAME | words -->  the figure that `builder.figures` makes, and what it shows
    <!-- gallery: NAME -->         what examples/NAME.py printed and made when it was last run
    <!-- file: PATH -->            a file of the repository, without its first heading
    <!-- domains -->               the installed domains; so samplers, grids
    <!-- not run: REASON -->       (left out) the next block of code is not run by the tests
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from builder import cards, commands, gallery, listings, reference, results, samplers

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
PAGES = DOCS / "pages"
_COMMENT = re.compile(
    r"^<!-- (result|figure|gallery|file|domains|samplers|grids)(?:: (.*?))? -->$", re.MULTILINE
)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"(^(`{3,}).*?^\2`*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def write(out: Path, figures: bool = True) -> dict[str, str]:
    """Write all pages to a folder that Sphinx reads, and return them by name, in order.

    Parameters
    ----------
    out : the folder, which is new.
    figures : whether figures are made, which takes a minute; without, their words stand there.
    """
    (out / "_pictures").mkdir(parents=True)
    typed = {
        path.relative_to(PAGES).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(PAGES.rglob("*.md"))
    }
    made = {**samplers.pages(), **cards.pages(), **commands.pages(), **reference.pages()}
    names = list(dict.fromkeys(["index", *sorted({**typed, **made})]))
    pages = {}
    for name in names:
        text = typed.get(name) or made[name]
        text = _COMMENT.sub(lambda found: _made(found[1], found[2] or "", out, figures), text)
        text = re.sub(r"^<!-- not run: .*? -->\n", "", text, flags=re.MULTILINE)
        pages[name] = linked(text, name, {*typed, *made}, out)
        path = out / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages[name], encoding="utf-8")
    return pages


_LISTS = {
    "domains": listings.domains,
    "samplers": samplers.overview,
    "grids": samplers.grid_kinds,
}


def _made(kind: str, words: str, out: Path, figures: bool) -> str:
    name, _, caption = (part.strip() for part in words.partition("|"))
    if kind == "result":
        return results.load(name).markdown
    if kind == "file":
        text = (ROOT / name).read_text(encoding="utf-8")
        return _moved(re.sub(r"\A# .*\n", "", text), Path(name).parent)
    if kind == "gallery":
        return gallery.shown(name, out / "_pictures")
    if kind in _LISTS:
        return _LISTS[kind]()
    if not figures:
        return f"*{caption}*"
    from builder.figures import FIGURES

    path = out / "_pictures" / f"{name}.svg"
    if not path.exists():
        FIGURES[name](path)
    return f"![{caption}](/_pictures/{name}.svg)"


def _moved(text: str, folder: Path) -> str:
    """A text whose links are relative to a folder of the repository, as links from its root."""

    def link(bang: str, words: str, target: str) -> str:
        if re.match(r"[a-z]+:|#|/", target):
            return f"{bang}[{words}]({target})"
        return f"{bang}[{words}](//{os.path.normpath(folder / target)})"

    return _links(text, link)


def linked(text: str, name: str, known: set[str], out: Path) -> str:
    """A page whose links lead to pages, whose pictures lie beside, and whose other links into the
    repository are the names of the files."""
    here = (PAGES / f"{name}.md").parent

    def link(bang: str, words: str, target: str) -> str:
        if re.match(r"[a-z]+:|#", target):
            return f"{bang}[{words}]({target})"
        path, mark, anchor = target.partition("#")
        up = "../" * name.count("/")
        if path.startswith("/_pictures/"):
            return f"{bang}[{words}]({up}{path[1:]})"
        if path.startswith("//"):
            file = ROOT / path[2:]
        else:
            file = Path(os.path.normpath(PAGES / path[1:] if path[0] == "/" else here / path))
        inside = os.path.relpath(file, PAGES)
        if inside.endswith(".md") and inside[:-3] in known:
            return f"[{words}]({os.path.relpath(inside, Path(name).parent)}{mark}{anchor})"
        page = _PLACES.get(os.path.relpath(file, ROOT))
        if page:
            return f"[{words}]({up}{page}{mark}{anchor})"
        if not file.exists():
            raise FileNotFoundError(f"{name}: [{words}]({target})")
        shown = os.path.relpath(file, ROOT)
        if bang:
            copy = out / "_pictures" / shown.replace("/", "-")
            shutil.copyfile(file, copy)
            return f"![{words}]({up}_pictures/{copy.name})"
        return f"`{shown}`" if words.strip("`") in shown else f"{words} (`{shown}`)"

    return _links(text, link)


_PLACES = {
    "README.md": "index.md",
    "core/README.md": "plugins/guide.md",
    "core/unnoise/testing/README.md": "plugins/kit.md",
    "examples/unnoise-torus": "plugins/torus.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "tests/benchmarks": "benchmarks/core.md",
    "tests/benchmarks/README.md": "benchmarks/core.md",
    **{
        place: f"domains/{name}.md"
        for name in listings.WHAT
        for place in (f"plugins/{name}", f"plugins/{name}/README.md")
    },
}
"""Where the text of a place in the repository is on the site."""


def _links(text: str, link: Callable[[str, str, str], str]) -> str:
    """Each link outside of code replaced."""
    parts = _CODE.split(text)
    out = []
    for at, part in enumerate(parts):
        if at % 3 == 0:
            part = _LINK.sub(lambda found: link(found[1], found[2], found[3]), part)
        elif at % 3 == 2:  # the fence itself, inside of the part before
            continue
        out.append(part)
    return "".join(out)
