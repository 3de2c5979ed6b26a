"""What a domain's pages are checked for: fragments that stand alone, closed and escaped."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any, Final

from unnoise.errors import UnnoiseError
from unnoise.testing.domain_case import IDS, DomainCase
from unnoise.testing.natives import with_words
from unnoise.testing.report import CheckFailed, Skip, require

_VOID: Final = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"]
)
_NO: Final = frozenset(
    ["script", "iframe", "object", "embed", "base", "link", "meta", "form", "frame", "applet"]
)
_ADDRESSES: Final = frozenset(
    ["src", "href", "xlink:href", "action", "poster", "srcset", "data", "background"]
)
_TAG: Final = "unnoise-probe"
_PROBE: Final = f'"\'><{_TAG} onclick="x">&<b'


class _Page(HTMLParser):
    """The problems of a fragment."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, attrs)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self.open or self.open[-1] != tag:
            inside = f"<{self.open[-1]}>" if self.open else "nothing"
            self.problems.append(f"</{tag}> closes {inside}")
            if tag in self.open:
                while self.open.pop() != tag:
                    pass
            return
        self.open.pop()

    def _look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in _NO:
            self.problems.append(f"it contains <{tag}>")
        for name, value in attrs:
            text = (value or "").strip().lower()
            if name.startswith("on"):
                self.problems.append(f"<{tag}> has a script in {name}")
            if name in _ADDRESSES and text and not text.startswith(("data:", "#")):
                self.problems.append(f"<{tag}> has the address {text[:40]!r}")
            if name == "style":
                self.style(text)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style(data.lower())

    def style(self, text: str) -> None:
        rest = text.replace(" ", "").replace("'", "").replace('"', "")
        if "@import" in rest or rest.count("url(") != rest.count("url(data:") + rest.count("url(#"):
            self.problems.append("a style has an address")


def looked_at(fragment: object, what: str) -> _Page:
    """A fragment, read; CheckFailed unless it stands alone and every element is closed."""
    if not isinstance(fragment, str):
        raise CheckFailed(f"{what} is a {type(fragment).__name__}")
    page = _Page()
    page.feed(fragment)
    page.close()
    if page.open:
        page.problems.append(f"<{page.open[-1]}> is not closed")
    require(not page.problems, f"{what}: {'; '.join(dict.fromkeys(page.problems[:3]))}")
    return page


def preview_is_self_contained(case: DomainCase) -> str:
    """`preview` and `moments` are HTML fragments without scripts and without addresses but
    `data:`, every element of which is closed."""
    display, out = case.domain.display, case.output
    looked_at(display.preview(out.samples), "preview")
    looked_at(display.preview(out.samples[:1]), "preview of one sample")
    rows = range(min(2, len(IDS)))
    moments = display.moments(out.trajectory, list(rows), case.model)
    for fragments in moments:
        for fragment in fragments:
            looked_at(fragment, "a moment")
    text = display.terminal(out.states, case.model) if not isinstance(out.states, list) else ""
    require(isinstance(text, str), f"terminal returns a {type(text).__name__}")
    return f"{len(moments)} rows of moments"


def words_are_escaped(case: DomainCase) -> str:
    """Markup in a request, or in the words of samples, is text on the page and no element."""
    display, count = case.domain.display, 0
    for samples in _marked(case):
        try:
            fragment = display.preview(samples)
        except Exception:
            continue
        page = _Page()
        page.feed(fragment if isinstance(fragment, str) else "")
        page.close()
        require(_TAG not in page.tags, "markup in the words of a sample becomes an element")
        scripts = [problem for problem in page.problems if "script in" in problem]
        require(not scripts, f"markup in the words of a sample: {'; '.join(scripts[:2])}")
        count += 1
    if not count:
        raise Skip("no sample and no request has words that may be any text")
    return f"{count} pages"


def _marked(case: DomainCase) -> list[list[Any]]:
    """Samples with markup in them: in their words, and in the words of what was asked for."""
    found = []
    changed = with_words(case.output.samples, lambda word: word + _PROBE)
    if any(a is not b for a, b in zip(changed, case.output.samples, strict=True)):
        found.append(changed)
    for name, schema in case.domain.Request.model_json_schema().get("properties", {}).items():
        options = schema.get("anyOf", [schema])
        free = [o for o in options if o.get("type") == "string" and not set(o) & {"enum", "format"}]
        if not free:
            continue
        try:
            found.append(case.run(**{name: _PROBE}).samples)
        except UnnoiseError:
            continue
    return found
