"""Asking a server of the toy domain."""

from __future__ import annotations

import base64
import json
import socket
from urllib.parse import urlsplit

import httpx

TOY = "/generate/toy"


def ask(server, request, **more):
    return httpx.post(server.url + TOY, json=request, timeout=60, **more)


def samples(answer):
    """The points in an answer's files, by name."""
    assert answer.status_code == 200, answer.text
    return [json.loads(base64.b64decode(f["base64"])) for f in answer.json()["files"]]


def refused(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["message"]
    return error


def raw(server, content: bytes, wait: float = 10.0) -> bytes:
    """What a socket answers to some bytes."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=wait) as line:
        line.sendall(content)
        return line.recv(2**16)


def head(length: int) -> bytes:
    return (
        f"POST {TOY} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()
