"""Text as HTML fragments and as lines for a terminal."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Final

from unnoise_text.characters import Vocabulary

HIDDEN: Final = "░"


def paragraphs(texts: Sequence[str]) -> str:
    """Texts, one below the other, escaped."""
    style = "margin:0 0 12px;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.5"
    return "<div>" + "".join(f'<p style="{style}">{html.escape(t)}</p>' for t in texts) + "</div>"


def runs(tokens: Sequence[int], mask: int | None, vocabulary: Vocabulary) -> list[tuple[str, bool]]:
    """(text, whether it is readable): tokens that are hidden become one block each."""
    found: list[tuple[str, bool]] = []
    start = 0
    while start < len(tokens):
        hidden = tokens[start] == mask
        end = start
        while end < len(tokens) and (tokens[end] == mask) == hidden:
            end += 1
        if hidden:
            found.append((HIDDEN * (end - start), False))
        else:
            found.append((vocabulary.decode(tokens[start:end]), True))
        start = end
    return found


def canvas_html(tokens: Sequence[int], mask: int | None, vocabulary: Vocabulary) -> str:
    """The canvas at one moment: what is readable, and a pale block for each hidden token."""
    parts = [
        html.escape(text) if readable else f'<span style="opacity:.3">{text}</span>'
        for text, readable in runs(tokens, mask, vocabulary)
    ]
    style = "margin:0;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.4"
    return f'<p style="{style}">{"".join(parts)}</p>'


def canvas_line(tokens: Sequence[int], mask: int | None, vocabulary: Vocabulary) -> str:
    """The canvas at one moment, for a terminal."""
    return "".join(text for text, _ in runs(tokens, mask, vocabulary))
