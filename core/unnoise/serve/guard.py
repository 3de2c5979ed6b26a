"""Who may speak to the server: a token where one is set, and no page of another site."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, final
from urllib.parse import urlsplit

from unnoise.errors import InputError
from unnoise.serve.refusals import Refusal

_OPEN: Final = ("/", "/health", "/assets/")
"""What needs no token: the page, which asks for one, and whether the server is there."""
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Scope]]
_Send = Callable[[_Scope], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


@final
@dataclass(frozen=True)
class Guard:
    """ASGI: refuses a request without the token with 401, and with 403 one that a page of another
    site sends, or that reached a server on this machine under a foreign name (DNS rebinding).

    `names` are those under which a proxy serves it."""

    app: _App
    token: str
    local: bool
    names: frozenset[str] = frozenset()

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        refused = self._refused(scope) if scope["type"] == "http" else None
        if refused is None:
            await self.app(scope, receive, send)
            return
        body = json.dumps(refused.body).encode()
        headers = {"content-type": "application/json", "connection": "close", **refused.headers}
        lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        lines.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": refused.status, "headers": lines})
        await send({"type": "http.response.body", "body": body})

    def _refused(self, scope: _Scope) -> Refusal | None:
        headers = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in scope["headers"]}
        host = headers.get("host", "")
        if self.local and host and _name(f"//{host}") not in (*_LOCAL, *self.names):
            return Refusal(
                403,
                InputError(
                    "this server answers on this machine alone", value=host, limit=_LOCAL[0]
                ),
            )
        origin = headers.get("origin")
        if origin is not None and not self._own(origin, host):
            return Refusal(
                403, InputError("a page of another site may not ask here", value=origin, limit=host)
            )
        path = scope["path"]
        if not self.token or path in _OPEN or path.startswith(_OPEN[-1]):
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self.token.encode())
        if kind.lower() == "bearer" and same:
            return None
        return Refusal(
            401,
            InputError(
                "this server wants a token",
                fix="send Authorization: Bearer TOKEN; the token is UNNOISE_TOKEN of the server",
            ),
        )

    def _own(self, origin: str, host: str) -> bool:
        return origin.partition("://")[2] == host or _name(origin) in self.names


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
