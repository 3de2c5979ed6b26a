"""What is wrong with a site that was built: links that lead nowhere, requests to outside."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("source", "src"),
    ("audio", "src"),
    ("iframe", "src"),
}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("href", "#") != "#" and given.get("rel") != "canonical":
            self.loaded.append(given["href"])
        self.loaded += [given[key] for of, key in _LOADED if of == tag and key in given]


def problems(site: Path) -> list[str]:
    """A line for each thing that a page loads from outside and each link that leads nowhere."""
    pages = {path: _read(path) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        for url in page.loaded:
            if urlsplit(url).netloc:
                found.append(f"{name}: loads {url}")
            elif (
                not urlsplit(url).scheme
                and not (path.parent / unquote(urlsplit(url).path)).is_file()
            ):
                found.append(f"{name}: no file {url}")
        for url in page.links:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{name}: no page {url}")
            elif parts.fragment and target in pages and parts.fragment not in pages[target].anchors:
                found.append(f"{name}: no place {url}")
    for path in site.rglob("*.css"):
        for url in re.findall(
            r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", path.read_text("utf-8")
        ):
            if urlsplit("".join(url)).netloc:
                found.append(f"{path.relative_to(site)}: loads {''.join(url)}")
    return found


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page
