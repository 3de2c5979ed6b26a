"""Asking a server of the toy domain."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

TOY = "/generate/toy"


@dataclass(frozen=True)
class Server:
    """Where it is, its process, and the folder in which it keeps its own."""

    url: str
    process: subprocess.Popen[str]
    temporary: Path

    @property
    def workers(self) -> list[int]:
        """Numbers of its worker processes."""
        found = Path(f"/proc/{self.process.pid}/task")
        children = "".join((task / "children").read_text() for task in found.iterdir())
        spawned = [int(word) for word in children.split()]
        return [p for p in spawned if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]

    @property
    def left(self) -> list[str]:
        """What is in its folder beside the empty one of the workers."""
        found = self.temporary.glob("unnoise-serve-*/*")
        return sorted(path.name for path in found if path.name != "nowhere")


def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


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
