"""Docstrings as Markdown: lists of parameters and errors, formulas in blocks as they stand."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\s*$", re.MULTILINE)


def markdown(text: str) -> str:
    """A docstring, cleaned of its indentation, as Markdown."""
    text = inspect.cleandoc(text)
    parts = _SECTION.split(text)
    out = [_prose(parts[0])]
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        out.append(f"**{name}**\n\n{_entries(body)}")
    return "\n\n".join(part for part in out if part.strip())


def _prose(text: str) -> str:
    """Paragraphs; lines that are indented are a formula or code and stay as they are."""
    out = []
    for block in _blocks(text):
        if block[0].startswith("    "):
            least = min(len(line) - len(line.lstrip()) for line in block if line.strip())
            out.append("```text\n" + "\n".join(line[least:] for line in block) + "\n```")
        else:
            out.append("\n".join(escaped(line.strip()) for line in block))
    return "\n\n".join(out)


def _blocks(text: str) -> list[list[str]]:
    """Paragraphs as lists of lines; indented paragraphs that follow each other are one."""
    found: list[list[str]] = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        lines = paragraph.split("\n")
        for line in lines:
            deep = line.startswith("    ")
            same = found and found[-1] and found[-1][0].startswith("    ") == deep
            if line is lines[0] or not same:
                if deep and found and found[-1][0].startswith("    "):
                    found[-1] += ["", line]
                else:
                    found.append([line])
            else:
                found[-1].append(line)
    return [block for block in found if any(line.strip() for line in block)]


def _entries(text: str) -> str:
    """`name : words`, whose words may go on in indented lines, as a list."""
    found: list[list[str]] = []
    for line in text.strip("\n").split("\n"):
        if line[:1] not in ("", " "):
            found.append([line])
        elif found and line.strip():
            found[-1].append(line.strip())
    lines = []
    for entry in found:
        name, colon, words = " ".join(entry).partition(" : ")
        lines.append(f"- `{name.strip()}`: {escaped(words)}" if colon else f"- {escaped(name)}")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Prose in which signs of formulas are no Markdown; what stands in backticks is left."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", text)
    return "".join(
        part if at % 2 else re.sub(r"([*<\[\]$|]|(?<!\w)_|_(?!\w))", r"\\\1", part)
        for at, part in enumerate(parts)
    )
