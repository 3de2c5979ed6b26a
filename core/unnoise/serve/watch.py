"""What a worker does between the steps of a run: it looks whether anybody still waits for it, says
how far it is, and ends it where it grows beyond a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final, final

from unnoise.demo.section import check_fragment
from unnoise.domain import Domain, Trained
from unnoise.errors import Cancelled, LimitExceeded
from unnoise.serve.limits import Limits
from unnoise.serve.messages import Cancel, Look, Spec, Step
from unnoise.spaces import State
from unnoise.trajectory import Progress

_EVERY: Final = 0.1  # seconds between two messages about one run
_LOOKS: Final = 0.4  # seconds between two looks at its states, which cost more
_ROWS: Final = 4  # samples of a look


@final
@dataclass(eq=False)
class Watch:
    """The callback of a run that serves `specs`, whose samples are at the places `rows` of its
    batches; where there is one, of all its batches."""

    line: Connection
    limits: Limits
    gone: set[str]
    domain: Domain
    model: Trained
    specs: Sequence[Spec]
    rows: Sequence[Sequence[int]]
    begun: float = field(default_factory=time.monotonic)
    said: float = 0.0
    looked: float = 0.0
    work: int = 0

    def __call__(self, at: Progress) -> None:
        """Raises Cancelled, LimitExceeded."""
        heard(self.line, self.gone)
        if all(spec.id in self.gone for spec in self.specs):
            raise Cancelled("nobody waits for this any more")
        now = time.monotonic()
        if now - self.begun > self.limits.seconds:
            raise Cancelled(
                f"the run took too long; it was at t = {at.t:.3g} of batch {at.batch + 1} of"
                f" {at.batches}",
                value=f"{now - self.begun:.0f} s",
                limit=f"{self.limits.seconds:g} s",
                fix="ask for fewer samples or steps",
            )
        if at.step == 1:
            self._weigh(at)
        if now - self.said >= _EVERY or at.step == at.steps:
            self.said = now
            for spec in self.specs:
                self.line.send(Step(spec.id, at.batch, at.batches, at.step, at.steps, at.t))
        if now - self.looked >= _LOOKS and any(spec.shown for spec in self.specs):
            self._look(at)
            self.looked = time.monotonic()

    def _weigh(self, at: Progress) -> None:
        """What a run has done and will do, as soon as the size of its states is known."""
        once = at.steps * _elements(at.x)
        ahead = self.work + once * (at.batches - at.batch)
        self.work += once
        if ahead > self.limits.work:
            raise LimitExceeded(
                "this is too much work for one request: samples x steps x elements of a state",
                value=ahead,
                limit=self.limits.work,
                fix="ask for fewer samples or steps; more of a seed come with other requests",
            )

    def _look(self, at: Progress) -> None:
        frame = at.frame() if at.frame is not None else None
        if frame is None or (len(self.specs) > 1 and frame.batch != sum(map(len, self.rows))):
            return
        for spec, rows in zip(self.specs, self.rows, strict=True):
            if not spec.shown or spec.id in self.gone:
                continue
            places = list(rows[:_ROWS]) if len(self.specs) > 1 else list(range(frame.batch))[:_ROWS]
            cells = self.domain.display.moments([frame], places, self.model)
            origin = f"{type(self.domain.display).__name__}.moments"
            found = tuple(check_fragment(row[0], origin) for row in cells)
            if found:
                self.line.send(Look(spec.id, at.t, found))


def heard(line: Connection, gone: set[str]) -> None:
    """Note who has left. Raises EOFError when the server itself has."""
    while line.poll(0):
        message: Any = line.recv()
        if isinstance(message, Cancel):
            gone.add(message.id)


def unwatched(_: Progress) -> None:
    """Stands for a watch until it is known what is run together."""


Callback = Callable[[Progress], None]


@final
@dataclass(eq=False)
class Relay:
    """A callback whose watch is chosen after the request was made ready."""

    watch: Callback = unwatched

    def __call__(self, at: Progress) -> None:
        self.watch(at)


def _elements(x: State) -> int:
    states = x.values() if isinstance(x, dict) else [x]
    return sum(state.numel() for state in states)
