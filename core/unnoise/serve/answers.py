"""Answers: one JSON object when all is done, or server-sent events on the way. Whoever leaves
before the end cancels the request."""

from __future__ import annotations

import base64
import json
import logging
import mimetypes
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import anyio
from starlette.responses import Response

from unnoise.errors import UnnoiseError
from unnoise.serve.desk import Desk, Ticket
from unnoise.serve.messages import Batch, Done, Failed, Told
from unnoise.serve.metrics import Metrics
from unnoise.serve.refusals import Refusal, refusal

_LOG: Final = logging.getLogger("unnoise.serve")
_QUIET: Final = 10.0  # seconds after which a stream says that it is still there
_TYPES: Final = {".sdf": "chemical/x-mdl-sdfile", ".npy": "application/octet-stream"}

_Message = MutableMapping[str, Any]


class Fault(UnnoiseError):
    """A bug, ours or a plugin's."""


@final
@dataclass(frozen=True, eq=False)
class Waiting:
    """A client that waits for a ticket; `fields` are those that its request may have."""

    desk: Desk
    ticket: Ticket
    metrics: Metrics
    fields: Sequence[str]
    begun: float

    async def whole(self, receive: Callable[[], Awaitable[_Message]]) -> Response:
        """The answer in one piece. Raises Refusal."""
        found: list[Response] = []
        refused: list[Refusal] = []
        try:
            async with anyio.create_task_group() as group:

                async def answered() -> None:
                    try:
                        done = await self._end()
                        content = await anyio.to_thread.run_sync(self._result, done, ())
                        found.append(Response(content, media_type="application/json"))
                    except Refusal as error:
                        refused.append(error)
                    group.cancel_scope.cancel()

                group.start_soon(answered)
                await _until_gone(receive)
                group.cancel_scope.cancel()
        finally:
            self.desk.leave(self.ticket)
        if refused:
            self.count(refused[0].status)
            raise refused[0]
        self.count(200 if found else 499)
        return found[0] if found else Response(status_code=499)

    def count(self, status: int) -> None:
        """Tell the metrics."""
        domain = self.ticket.spec.domain
        self.metrics.answers.labels(domain, str(status)).inc()
        if status == 200:
            self.metrics.seconds.labels(domain).observe(time.monotonic() - self.begun)

    async def _end(self) -> Done:
        while True:
            told = await self.ticket.told.get()
            if isinstance(told, Done):
                return told
            if isinstance(told, Failed | Refusal):
                raise self.refused(told)

    def refused(self, told: Failed | Refusal) -> Refusal:
        """The answer to a request that failed."""
        if isinstance(told, Refusal):
            return told
        if told.error is not None:
            return refusal(told.error, self.fields)
        _LOG.error("a fault in %s:\n%s", self.ticket.spec.domain, told.trace)
        error = Fault(
            "a fault in unnoise or in the plugin of this domain",
            fix="its trace is in the log of the server; please report it",
        )
        return Refusal(500, error)

    def _result(self, done: Done, known: Sequence[str]) -> bytes:
        """The last of an answer, as JSON; files that are `known` are not sent again."""
        self.metrics.samples.labels(self.ticket.spec.domain).inc(len(done.provenance["ids"]))
        new = [name for name in done.files if name not in known]
        content = {
            "provenance": done.provenance,
            "files": self._files(new),
            **({"preview": done.preview} if done.preview else {}),
        }
        return json.dumps(content, default=str).encode()

    def _files(self, names: Sequence[str]) -> list[dict[str, Any]]:
        out = self.ticket.spec.out
        found = []
        for name in names:
            content = (out / name).read_bytes()
            found.append(
                {"name": name, "type": _type(name), "base64": base64.b64encode(content).decode()}
            )
        return found


@final
class Events(Response):
    """A stream of server-sent events: "queued", "begun", "step", "look", "batch" (finished samples
    with their files), and at the end "result" or "error"."""

    media_type = "text/event-stream"

    def __init__(self, waiting: Waiting, ahead: int) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._waiting, self._ahead = waiting, ahead

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        waiting = self._waiting
        try:
            async with anyio.create_task_group() as group:

                async def stream() -> None:
                    start = {"type": "http.response.start", "status": 200}
                    await send({**start, "headers": self.raw_headers})
                    await self._stream(send)
                    group.cancel_scope.cancel()

                group.start_soon(stream)
                await _until_gone(receive)
                group.cancel_scope.cancel()
        finally:
            waiting.desk.leave(waiting.ticket)

    async def _stream(self, send: Any) -> None:
        waiting, sent = self._waiting, list[str]()

        async def say(event: str, data: bytes, more: bool = True) -> None:
            with anyio.fail_after(waiting.desk.limits.send_seconds):
                body = b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"
                await send({"type": "http.response.body", "body": body, "more_body": more})

        await say("queued", json.dumps({"ahead": self._ahead}).encode())
        while True:
            told: Told | Refusal | None = None
            with anyio.move_on_after(_QUIET):
                told = await waiting.ticket.told.get()
            if told is None:
                await send(
                    {"type": "http.response.body", "body": b": waits\n\n", "more_body": True}
                )
            elif isinstance(told, Done):
                waiting.count(200)
                content = await anyio.to_thread.run_sync(waiting._result, told, sent)
                return await say("result", content, more=False)
            elif isinstance(told, Failed | Refusal):
                refused = waiting.refused(told)
                waiting.count(refused.status)
                content = json.dumps({**refused.body, "status": refused.status}).encode()
                return await say("error", content, more=False)
            else:
                data = asdict(told)
                del data["id"]
                if isinstance(told, Batch):
                    data["files"] = await anyio.to_thread.run_sync(self._there, told.files)
                    sent += [file["name"] for file in data["files"]]
                await say(type(told).__name__.lower(), json.dumps(data).encode())

    def _there(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Files of a batch; a domain may have put them together already."""
        out = self._waiting.ticket.spec.out
        return self._waiting._files([name for name in names if (out / name).is_file()])


async def _until_gone(receive: Callable[[], Awaitable[_Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _type(name: str) -> str:
    suffix = name[name.rfind(".") :].lower()
    return _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
