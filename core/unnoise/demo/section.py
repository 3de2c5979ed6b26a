"""One domain's part of the demo page: run its request, and put what came of it into words."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Literal, final

from unnoise.api import generate, model_for, shipped
from unnoise.demo.moments import last_way, moments, spread
from unnoise.demo.recipe import command_line, python_lines
from unnoise.discovery.domains import domain_named
from unnoise.discovery.loader import strict
from unnoise.domain import Domain
from unnoise.engine.output import Output
from unnoise.errors import ConfigError, UnnoiseError
from unnoise.model import Model
from unnoise.specs import DomainInfo
from unnoise.trajectory import Callback
from unnoise.trajectory import Progress as Position

_EMPTY = frozenset(  # elements without an end tag
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"]
)


@final
@dataclass(frozen=True)
class Strip:
    """Fragments of a trajectory: `cells[i][j]` is sample i at time `times[j]`."""

    times: tuple[float, ...]
    cells: tuple[tuple[str, ...], ...]
    direction: Literal["across", "down"]


@final
@dataclass(frozen=True)
class Shown:
    """What a domain made. Fragments are HTML, everything else is text."""

    samples: str
    look: str
    strip: Strip | None
    facts: tuple[tuple[str, str], ...]
    hash: str
    command: str
    python: str


@final
@dataclass(frozen=True)
class Failed:
    """Why a domain made nothing."""

    error: str
    fix: str
    traceback: str
    command: str


@final
@dataclass(frozen=True)
class Section:
    """A domain, what came of it, and the seconds that took.

    `result` is None for a domain that ships no model. `outcome` says it in a few words.
    """

    info: DomainInfo
    result: Shown | Failed | None
    outcome: str
    seconds: float


def section_of(info: DomainInfo, progress: Callable[[str, float], None] | None = None) -> Section:
    """Run one domain's demo. What it raises becomes its section (UNNOISE_STRICT=1 re-raises)."""
    begun = time.perf_counter()
    result: Shown | Failed | None
    try:
        result, outcome = _run(info.name, _callback(info.name, progress))
    except (Exception, SystemExit) as error:
        if strict():
            raise
        result = _failure(info.name, error)
        outcome = f"failed: {result.error}"
    return Section(info, result, outcome, time.perf_counter() - begun)


def check_fragment(fragment: object, origin: str) -> str:
    """`fragment` if it is HTML with every element closed: one that is not would swallow the rest
    of the page. Raises ConfigError."""
    if not isinstance(fragment, str):
        raise ConfigError(f"{origin} returned no HTML", value=type(fragment).__name__, limit="str")
    elements = _Elements()
    elements.feed(fragment)
    elements.close()
    open_, wrong = elements.open, elements.wrong
    if fragment.count("<!--") != fragment.count("-->"):
        wrong = wrong or "an open comment"
    if wrong or open_:
        raise ConfigError(
            f"{origin} returned HTML whose elements do not match",
            value=wrong or f"<{open_[-1]}> is not closed",
            fix="escape text with html.escape, and close every element",
        )
    return fragment


def _run(name: str, callback: Callback | None) -> tuple[Shown | None, str]:
    domain = domain_named(name)
    if shipped(domain) is None:
        return None, "ships no model"
    arguments = {**domain.demo, "seed": domain.demo.get("seed", 0)}
    command = command_line(name, arguments, domain.Request, out=f"samples/{name}")
    model = model_for(domain)
    output = generate(name, model=model, return_trajectory=True, callback=callback, **arguments)
    shown = Shown(
        samples=check_fragment(
            domain.display.preview(output.samples), f"{type(domain.display).__name__}.preview"
        ),
        look=domain.display.look,
        strip=_strip(domain, model, output),
        facts=_facts(output),
        hash=model.hash,
        command=command,
        python=python_lines(name, arguments, out=f"samples/{name}"),
    )
    count = len(output.samples)
    return shown, f"{count} sample{'s' * (count != 1)}"


def _strip(domain: Domain, model: Model, output: Output) -> Strip | None:
    if not output.trajectory:
        return None
    rows = spread(min(frame.batch for frame in last_way(output.trajectory)))
    frames = moments(output.trajectory, rows)
    found = domain.display.moments(frames, rows, model)
    if not found:
        return None
    origin = f"{type(domain.display).__name__}.moments"
    cells = tuple(tuple(check_fragment(cell, origin) for cell in row) for row in found)
    if any(len(row) != len(frames) for row in cells):
        raise ConfigError(
            f"{origin} returned rows of another length than the frames",
            value=[len(row) for row in cells],
            limit=len(frames),
        )
    return Strip(tuple(frame.t for frame in frames), cells, domain.display.strip)


def _facts(output: Output) -> tuple[tuple[str, str], ...]:
    record = output.provenance
    steps = record["steps"]
    rows: list[tuple[str, Any]] = [
        ("samples", len(output.samples)),
        ("sampler", record["sampler"]),
        ("steps", len(steps) - 1 if isinstance(steps, list) else steps),
        ("evaluations", record["evaluations"]),
        ("seconds", f"{record['seconds']:.1f}"),
        ("seed", record["seed"]),
        ("device", record["device"]),
    ]
    return tuple((label, str(value)) for label, value in rows)


def _failure(name: str, error: BaseException) -> Failed:
    ours = isinstance(error, UnnoiseError)
    text = str(error) if ours else f"{type(error).__name__}: {error}"
    return Failed(
        error=" ".join(text.split()),
        fix="" if ours else "this is a fault in the plugin; please report it to its authors",
        traceback="".join(traceback.format_exception(error)),
        command=f"unnoise generate {name} --out samples/{name} --debug",
    )


def _callback(name: str, progress: Callable[[str, float], None] | None) -> Callback | None:
    if progress is None:
        return None

    def show(now: Position) -> None:
        progress(name, (now.batch + now.step / max(now.steps, 1)) / now.batches)

    return show


class _Elements(HTMLParser):
    """The elements that are open, and the first end tag that closes none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "svg" not in self.open and tag != "svg":  # elsewhere <div/> opens a div
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.wrong = self.wrong or f"</{tag}> closes nothing"
