"""`unnoise serve`: every installed domain over HTTP, and a playground."""

from __future__ import annotations

import ipaddress
import math
import os
import socket
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unnoise.errors import ConfigError, InputError

_NEEDS = ("fastapi", "uvicorn", "multipart", "prometheus_client")
_TOKEN = "UNNOISE_TOKEN"


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: list[str] | None = None,
    model: dict[str, Path] | None = None,
    device: list[str] | None = None,
    threads: int | None = None,
    queue: int = 512,
    samples: int = 1024,
    steps: int = 2000,
    work: float = 4e9,
    seconds: float = 300.0,
    body: float = 32.0,
    body_seconds: float = 30.0,
) -> int:
    """Serve every installed domain over HTTP, with a page to play on.

    The variable UNNOISE_TOKEN is the token that clients must send; without one anybody who reaches
    the port may generate.

    Parameters
    ----------
    host
        Address to listen at; 0.0.0.0 for every network of this machine.
    port
        0 takes a free one.
    name
        Host under which a proxy in front of it serves it.
    model
        A model beside the shipped ones, --model.NAME FOLDER: requests say it by its name.
    device
        A worker process for each: --device cuda:0 --device cuda:1.
    threads
        Processor threads of a worker's network.
    queue
        Requests that may wait.
    samples
        Most samples of a request.
    steps
        Most steps of a run.
    work
        Most samples x steps x elements of a request.
    seconds
        In which a request is generated, its time in the queue left out.
    body
        Megabytes that a request may have, uploads included.
    body_seconds
        In which it arrives.
    """
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ConfigError(
            "serving needs libraries that are not installed",
            value=", ".join(missing),
            fix="pip install 'unnoise[serve]'",
        )
    if not 0 <= port < 2**16:
        raise InputError("there is no such port", value=port, limit="0 to 65535")
    for what, number in (("queue", queue), ("samples", samples), ("steps", steps)):
        if number < 1:
            raise InputError(f"{what} is at least 1", value=number)
    limits = (work, seconds, body, body_seconds)
    if not all(0 < limit < math.inf for limit in limits):
        raise InputError("limits are positive", value=limits)
    return _run(
        host,
        port,
        name or [],
        {name: str(path.resolve()) for name, path in (model or {}).items()},
        device or [None],
        threads,
        {
            "queue": queue,
            "samples": samples,
            "steps": steps,
            "work": int(work),
            "seconds": seconds,
            "body": int(body * 2**20),
            "body_seconds": body_seconds,
        },
    )


def _run(
    host: str,
    port: int,
    names: list[str],
    models: dict[str, str],
    devices: list[str] | list[None],
    threads: int | None,
    limits: dict[str, int | float],
) -> int:
    import uvicorn

    from unnoise.api import load
    from unnoise.serve.limits import Limits
    from unnoise.serve.web import Settings, application

    for folder in models.values():  # what cannot be read is said before anybody asks
        load(folder)
    local, token = _is_local(host), os.environ.get(_TOKEN, "")
    if not local and not token:
        print(
            f"warning: anybody who reaches {host} may generate; set {_TOKEN} to ask for a token",
            file=sys.stderr,
        )
    chosen: Any = limits
    settings = Settings(Limits(**chosen), models, devices, threads, token, local, names)
    config = uvicorn.Config(
        application(settings),
        host=host,
        port=port,
        log_level="info" if sys.stderr.isatty() else "warning",
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=2**16,
    )
    with closing(_socket(host, port)) as listening:
        name, taken = listening.getsockname()[:2]
        print(f"http://{f'[{name}]' if ':' in name else name}:{taken}", flush=True)
        uvicorn.Server(config).run(sockets=[listening])
    return 0


def _socket(host: str, port: int) -> socket.socket:
    """What clients connect to."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise InputError(
            "the server cannot listen there",
            value=f"{host}, port {port}",
            fix=f"{error.strerror or error}; choose another --port or --host",
        ) from error
    found.listen(2048)
    return found


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
