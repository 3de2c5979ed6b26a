"""The queue, and the worker processes that it is served by.

Everything here runs in the server's event loop, but for a thread for each worker, which waits for
what it says. A worker that dies is started anew; what it was working on fails with 503.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final, final

from unnoise.engine.run import BATCH
from unnoise.errors import Cancelled, LimitExceeded, UnnoiseError
from unnoise.serve.limits import Limits
from unnoise.serve.messages import Cancel, Done, Failed, FromWorker, Group, Idle, Spec, Told
from unnoise.serve.metrics import Metrics
from unnoise.serve.refusals import Refusal
from unnoise.serve.worker import Setup, work

_GRACE: Final = 15.0  # seconds beyond the limit in which a worker may be silent
_MOST_APART: Final = 30.0  # seconds between two starts of a worker that does not come up
_CONTEXT: Final = multiprocessing.get_context("spawn")


@final
@dataclass(eq=False)
class Ticket:
    """A request in the queue, or under way.

    Attributes
    ----------
    spec : for a worker.
    key : what requests have in common that may share a batch; None for one that runs alone.
    samples : of each of its inputs.
    client : the address that it came from.
    told : what its client is to be told; the last is Done, Failed or a Refusal.
    """

    spec: Spec
    key: Hashable | None
    samples: int
    client: str
    told: asyncio.Queue[Told | Refusal] = field(default_factory=asyncio.Queue)
    left: bool = False
    closed: bool = False


class Lost(UnnoiseError):
    """The process that worked on a request has ended."""


@final
class Desk:
    """Takes tickets while there is room, and hands them to workers in order."""

    def __init__(self, limits: Limits, setups: Sequence[Setup], metrics: Metrics) -> None:
        self.limits, self._metrics = limits, metrics
        self._waiting: deque[Ticket] = deque()
        self._workers = [_Worker(setup, self) for setup in setups]
        self._watchdog: asyncio.Task[None] | None = None
        metrics.of_queue(lambda: len(self._waiting))

    async def open(self) -> None:
        """Start the workers."""
        for worker in self._workers:
            worker.start()
        self._watchdog = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """End the workers; whoever waits is told."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        for ticket in self._waiting:
            ticket.told.put_nowait(_going())
        self._waiting.clear()
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    @property
    def health(self) -> dict[str, Any]:
        """Whether requests are served, and how many wait."""
        ready = sum(worker.up for worker in self._workers)
        return {
            "status": "ok" if ready else "starting",
            "workers": len(self._workers),
            "ready": ready,
            "running": sum(len(worker.running) for worker in self._workers),
            "waiting": len(self._waiting),
        }

    def enter(self, ticket: Ticket) -> int:
        """Queue a ticket; how many are before it. Raises Refusal: 503 for a full queue, 429 for a
        client that has its share of it."""
        limit = self.limits
        if len(self._waiting) >= limit.queue:
            error = LimitExceeded(
                "the queue is full",
                value=len(self._waiting),
                limit=limit.queue,
                fix="try again in a moment",
            )
            raise Refusal(503, error, again=2)
        own = Counter(one.client for one in self._waiting)[ticket.client]
        if own >= limit.each:
            error = LimitExceeded(
                "too many requests of one client wait",
                value=own,
                limit=limit.each,
                fix="wait for some of them",
            )
            raise Refusal(429, error, again=2)
        self._waiting.append(ticket)
        ahead = len(self._waiting) - 1 + sum(len(worker.running) for worker in self._workers)
        self.pump()
        return ahead

    def leave(self, ticket: Ticket) -> None:
        """The client has its answer, or has left. Its folder goes, at once or as soon as the worker
        lets go of it."""
        if ticket.left:
            return
        ticket.left = True
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            ticket.closed = True
        for worker in self._workers:
            if ticket.spec.id in worker.running:
                worker.say(Cancel(ticket.spec.id))
                return
        self.tidy(ticket)

    def tidy(self, ticket: Ticket) -> None:
        """Remove the folder of a request that nobody works on or reads any more."""
        if ticket.left:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, lambda: shutil.rmtree(ticket.spec.folder, True))

    def pump(self) -> None:
        """Give idle workers something to do."""
        for worker in self._workers:
            if worker.idle and self._waiting:
                group = self._group()
                self._metrics.groups.observe(len(group))
                worker.take(group)

    def _group(self) -> list[Ticket]:
        """The first ticket, and those behind it that may share its batch."""
        first = self._waiting.popleft()
        group, room = [first], BATCH - first.samples
        if first.key is not None:
            for ticket in list(self._waiting):
                if ticket.key == first.key and ticket.samples <= room:
                    group.append(ticket)
                    room -= ticket.samples
        for ticket in group[1:]:
            self._waiting.remove(ticket)
        return group

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for worker in self._workers:
                silent = time.monotonic() - worker.heard
                if worker.running and silent > self.limits.seconds + _GRACE:
                    error = Cancelled(
                        "the run took too long, and did not end when it was told to",
                        value=f"{silent:.0f} s",
                        limit=f"{self.limits.seconds:g} s",
                        fix="ask for fewer samples or steps",
                    )
                    worker.end(Refusal(504, error))

    def lost(self) -> None:
        """Count a worker that is started anew."""
        self._metrics.restarts.inc()


@final
class _Worker:
    """One process, seen from the server."""

    def __init__(self, setup: Setup, desk: Desk) -> None:
        self._setup, self._desk = setup, desk
        self.running: dict[str, Ticket] = {}
        self.idle = self.up = False
        self.heard = time.monotonic()
        self._process: Any = None
        self._line: Connection | None = None
        self._stopping = False
        self._failures = 0
        self._why: Refusal | None = None

    def start(self) -> None:
        """Start the process, and the thread that listens to it."""
        loop = asyncio.get_running_loop()
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=work, args=(theirs, self._setup), daemon=True)

        def listen() -> None:
            process.start()
            theirs.close()
            try:
                while True:
                    _call(loop, self._on, ours.recv())
            except (EOFError, OSError):
                process.join()
                ours.close()
                _call(loop, self._on_end)

        self._line, self._process = ours, process
        threading.Thread(target=listen, daemon=True, name="unnoise-worker").start()

    def take(self, group: Sequence[Ticket]) -> None:
        """Give the idle process a group."""
        self.idle = False
        self.heard = time.monotonic()
        self.running = {ticket.spec.id: ticket for ticket in group}
        self.say(Group([ticket.spec for ticket in group]))

    def say(self, message: Any) -> None:
        """Send something; a process that has died is heard of elsewhere."""
        if self._line is not None:
            try:
                self._line.send(message)
            except (OSError, ValueError):
                return

    def end(self, why: Refusal) -> None:
        """Kill the process; what runs is refused with `why`."""
        self._why = why
        self.heard = time.monotonic()
        self._process.kill()

    async def stop(self) -> None:
        """End the process for good."""
        self._stopping = True
        if self._process is not None and self._process.is_alive():
            self._process.terminate()
        for _ in range(50):
            if self._process is None or not self._process.is_alive():
                return
            await asyncio.sleep(0.1)
        self._process.kill()

    def _on(self, message: FromWorker) -> None:
        self.heard = time.monotonic()
        if isinstance(message, Idle):
            self.idle = self.up = True
            self._failures = 0
            for ticket in list(self.running.values()):  # it never said what came of them
                self._closed(ticket, Failed(ticket.spec.id, None, "no answer of the worker"))
            self._desk.pump()
            return
        if message.id not in self.running:
            return
        ticket = self.running[message.id]
        if isinstance(message, Done | Failed):
            self._closed(ticket, message)
        elif not ticket.left:
            ticket.told.put_nowait(message)

    def _closed(self, ticket: Ticket, last: Done | Failed | Refusal) -> None:
        self.running.pop(ticket.spec.id, None)
        ticket.closed = True
        ticket.told.put_nowait(last)
        self._desk.tidy(ticket)

    def _on_end(self) -> None:
        self.idle = self.up = False
        error = Lost(
            "the worker process that ran this request has ended",
            value=f"exit code {self._process.exitcode}",
            fix="send the request again; a new one is started",
        )
        why = self._why or (_going() if self._stopping else Refusal(503, error, again=5))
        self._why = None
        for ticket in list(self.running.values()):
            self._closed(ticket, why)
        if self._stopping:
            return
        self._desk.lost()
        wait = min(2.0**self._failures - 1, _MOST_APART)
        self._failures += 1
        asyncio.get_running_loop().call_later(wait, self._again)

    def _again(self) -> None:
        if not self._stopping:
            self.start()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *given: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *given)
    except RuntimeError:  # the loop is closed: the server is gone
        return


def _going() -> Refusal:
    return Refusal(503, Cancelled("the server is stopping", fix="send it again"), again=10)
