"""The body of a request: JSON, or multipart with JSON in its part "request" and files beside it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import anyio
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from unnoise.errors import LimitExceeded
from unnoise.serve.limits import Limits
from unnoise.serve.refusals import Refusal, too_large, wrong
from unnoise.serve.uploads import Sent

PART: Final = "request"
"""The part of a multipart body that is the request."""
_SMALLER: Final = "send smaller files, or fewer at once"


@final
@dataclass
class Gate:
    """The bodies that are on their way in: their bytes, together."""

    limits: Limits
    held: int = 0

    def add(self, size: int) -> None:
        """Take in a piece. Raises Refusal, 503, where there is no room for it."""
        if self.held + size > self.limits.bodies:
            error = LimitExceeded(
                "too many large requests come in at once",
                value=f"{self.held + size} bytes",
                limit=f"{self.limits.bodies} bytes",
                fix="try again in a moment",
            )
            raise Refusal(503, error, again=5)
        self.held += size


async def received(request: Request, gate: Gate) -> tuple[dict[str, Any], Mapping[str, Sent]]:
    """The JSON object of a request, and its files by the names of their parts.

    Raises Refusal: 408 for a body that does not come, 413 for one that is too large, 415 for
    another type, 422 for one that is no JSON object, 503 where too many come at once.
    """
    limits = gate.limits
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "multipart/form-data"):
        raise wrong(
            "the body of a request is JSON, or multipart",
            415,
            value=kind or "no Content-Type",
            limit="application/json, multipart/form-data",
        )
    body = await _read(request, gate)
    if kind == "application/json":
        return await anyio.to_thread.run_sync(_object, body), {}
    return await _parts(request.headers, body, limits)


async def _read(request: Request, gate: Gate) -> bytes:
    limits = gate.limits
    length = request.headers.get("content-length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > limits.body:
        raise _too_long(int(length), limits)
    pieces, size, held = [], 0, 0
    try:
        with anyio.fail_after(limits.body_seconds):
            async for piece in request.stream():
                size += len(piece)
                if size > limits.body:
                    raise _too_long(f"more than {limits.body}", limits)
                gate.add(len(piece))
                held += len(piece)
                pieces.append(piece)
    except TimeoutError:
        raise wrong(
            "the body of the request did not come",
            408,
            value=f"{size} bytes in {limits.body_seconds:g} s",
            limit=f"{limits.body_seconds:g} s",
        ) from None
    except ClientDisconnect:
        raise wrong("the body of the request ended early", 400, value=f"{size} bytes") from None
    finally:
        gate.held -= held
    return b"".join(pieces)


def _too_long(value: object, limits: Limits) -> Exception:
    return too_large(
        "the body of this request is too large", value, f"{limits.body} bytes", _SMALLER
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
        json.dumps(given, ensure_ascii=False).encode()  # half a character is no text
    except (ValueError, RecursionError) as error:
        raise wrong(
            "the body is no JSON", value=f"{len(body)} bytes", fix=str(error).partition("\n")[0]
        ) from None
    if not isinstance(given, dict):
        raise wrong("a request is one JSON object", value=type(given).__name__, limit="{...}")
    return given


async def _parts(
    headers: Headers, body: bytes, limits: Limits
) -> tuple[dict[str, Any], dict[str, Sent]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser: Any = MultiPartParser(
        headers, stream(), max_files=limits.files, max_fields=1, max_part_size=limits.body
    )
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError) as error:
        said = str(error)
        if "Too many" in said:
            raise too_large(
                "too many parts in the body", said, f"{limits.files} files", _SMALLER
            ) from None
        raise wrong("the body is not multipart as it says", fix=said) from None
    found: dict[str, Sent] = {}
    text: Any = None
    try:
        for name, value in form.multi_items():
            if name == PART:
                text = await value.read() if isinstance(value, UploadFile) else value.encode()
            elif isinstance(value, UploadFile):
                found[name] = Sent(value.filename or name, await value.read())
            else:
                raise wrong("parts beside the request are files", value=name, fix="send a filename")
    finally:
        await form.close()
    return await anyio.to_thread.run_sync(_object, text if text is not None else b"{}"), found
