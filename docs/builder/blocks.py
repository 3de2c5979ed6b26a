"""The blocks of code of a page, and running them as a reader would: one after the other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGES = Path(__file__).parents[1] / "pages"
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>.*?) -->\n)?"
    r"(?P<indent> *)```(?P<kind>[\w{}]*)\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block of code: its language, its text, and why it is not run, if it is not."""

    kind: str
    code: str
    why: str | None

    @property
    def commands(self) -> list[list[str]]:
        """Words of each line of a shell block; continued lines are one."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page in order."""
    for found in _BLOCK.finditer(text):
        indent = len(found["indent"])
        code = "".join(line[indent:] for line in found["code"].splitlines(keepends=True))
        yield Block(found["kind"], code, found["why"])


def names() -> list[str]:
    """The pages that somebody typed, by name."""
    return sorted(
        path.relative_to(PAGES).with_suffix("").as_posix() for path in PAGES.rglob("*.md")
    )


def text_of(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def python_of(name: str) -> list[Block]:
    """The blocks of Python of a page that are run."""
    return [b for b in blocks(text_of(name)) if b.kind == "python" and b.why is None]
