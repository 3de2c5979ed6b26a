"""The OpenAPI document: what FastAPI knows of the routes, and of each domain its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from unnoise.serve.body import PART
from unnoise.serve.forms import Form

_ANY: Final[Mapping[str, Any]] = {}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["kind", "message", "value", "limit", "fix", "field", "text"],
            "properties": {
                "kind": {"type": "string"},
                "message": {"type": "string"},
                "value": _ANY,
                "limit": _ANY,
                "fix": {"type": "string"},
                "field": {"type": ["string", "null"]},
                "text": {"type": "string"},
            },
        }
    },
}
_RESULT: Final = {
    "type": "object",
    "required": ["provenance", "files"],
    "properties": {
        "provenance": {"type": "object"},
        "files": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "type", "base64"],
                "properties": {
                    "name": {"type": "string"},
                    "type": {"type": "string"},
                    "base64": {"type": "string", "contentEncoding": "base64"},
                },
            },
        },
        "preview": {"type": "string", "description": "HTML, where ?preview=1 asked for it"},
    },
}
_STATUSES: Final = {
    "400": "the body ended early",
    "401": "no token, or another one",
    "403": "a page of another site, or a foreign name of this machine",
    "404": "no such domain",
    "408": "the body did not come",
    "413": "the body or its files are too large",
    "415": "another type than JSON or multipart",
    "422": "a request that cannot be met",
    "429": "too many requests of this client wait; see Retry-After",
    "503": "the queue is full, or the worker has ended; see Retry-After",
    "504": "the run took too long",
}


def described(app: FastAPI, forms: Mapping[str, Form], token: bool) -> dict[str, Any]:
    """The document."""
    document: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    paths = document["paths"]
    one = paths.pop("/generate/{domain}")["post"]
    for name, form in forms.items():
        paths[f"/generate/{name}"] = {"post": _generate(one, form)}
    for path in paths.values():
        for operation in path.values():
            operation["responses"] |= {
                status: {"description": about, "content": {"application/json": {"schema": _ERROR}}}
                for status, about in _STATUSES.items()
            }
    _plain(paths)
    document["components"] = {}
    if token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _generate(one: Mapping[str, Any], form: Form) -> dict[str, Any]:
    form_data = {
        "type": "object",
        "required": [PART],
        "properties": {PART: {"type": "string", "description": "the request, as JSON"}},
        "additionalProperties": {"type": "string", "format": "binary"},
    }
    return {
        **{key: value for key, value in one.items() if key != "parameters"},
        "operationId": f"generate_{form.name}",
        "summary": form.summary,
        "parameters": [
            {
                "name": "preview",
                "in": "query",
                "description": "1 for HTML that shows the samples, and looks on the way",
                "schema": {"type": "string", "enum": ["0", "1"]},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": form.schema},
                "multipart/form-data": {"schema": form_data},
            },
        },
        "responses": {
            "200": {
                "description": "the samples; with Accept: text/event-stream, events on the way",
                "content": {
                    "application/json": {"schema": _RESULT},
                    "text/event-stream": {"schema": {"type": "string"}},
                },
            }
        },
    }


def _plain(paths: Mapping[str, Any]) -> None:
    """What the other routes answer."""
    kinds = {"/metrics": "text/plain", "/example/{domain}/{name}": "application/octet-stream"}
    for path, methods in paths.items():
        if path.startswith("/generate"):
            continue
        kind = kinds.get(path, "application/json")
        schema = {"type": "object"} if kind == "application/json" else {"type": "string"}
        methods["get"]["responses"]["200"] = {
            "description": "the answer",
            "content": {kind: {"schema": schema}},
        }
        if path == "/health":
            methods["get"]["responses"]["503"]["content"]["application/json"]["schema"] = {
                "type": "object"
            }
