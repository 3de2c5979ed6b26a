"""A progress bar on stderr, when that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


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
