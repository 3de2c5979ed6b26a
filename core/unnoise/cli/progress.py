"""A progress bar, lines, or the first sample as it comes, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from unnoise.domain import Domain
    from unnoise.model import Model
    from unnoise.trajectory import Progress as Position


@contextmanager
def bar() -> Iterator[Callable[[str, float], None]]:
    """show(title, fraction) moves the bar; a new title begins anew; it never goes back."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # else what is printed would land on stderr
    ) as shown:
        task, current, furthest = shown.add_task("", total=1.0), "", 0.0

        def show(title: str, fraction: float) -> None:
            nonlocal current, furthest
            if title != current:
                current, furthest = title, 0.0
                shown.reset(task, description=title)
            furthest = max(furthest, fraction)
            shown.update(task, completed=furthest)

        yield show


@contextmanager
def told() -> Iterator[Callable[[str, float], None]]:
    """As `bar` on a terminal. Elsewhere, in the log of a run of hours, a line for each new title:
    the part that is done, and the seconds it took."""
    if sys.stderr.isatty():
        with bar() as show:
            yield show
        return
    begun, current = time.monotonic(), ""

    def tell(title: str, fraction: float) -> None:
        nonlocal current
        if title != current:
            current, spent = title, time.monotonic() - begun
            print(f"{fraction:4.0%} {spent:6.0f} s  {title}", file=sys.stderr, flush=True)

    yield tell


@contextmanager
def watched(domain: Domain, model: Model) -> Iterator[Callable[[Position], None]]:
    """see(progress) shows the first sample of the first batch at that step, in place on a
    terminal; elsewhere the states of its last step alone are printed."""
    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=False) as live:

        def see(at: Position) -> None:
            if at.batch:
                return
            shown = domain.display.terminal(at.x, model) or f"step {at.step} of {at.steps}"
            live.update(Text(shown), refresh=console.is_terminal)

        yield see
