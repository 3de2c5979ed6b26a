"""What a server takes on: each limit is refused with its value, itself, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Limits:
    """Bounds of one server.

    Attributes
    ----------
    body : bytes of a request, uploads included; `body_seconds`, in which it arrives; `bodies`,
        bytes of all that are on their way in.
    files : uploads of a request.
    samples : of a request, and `steps` of a run.
    work : samples x steps x elements of a state, over all runs of a request.
    seconds : of wall clock in which a request is generated, without its time in the queue.
    queue : requests that wait, of all clients; `each`, of one address.
    answer : bytes of the files of an answer.
    send_seconds : in which a client takes each piece of an answer.
    """

    body: int = 32 * 2**20
    body_seconds: float = 30.0
    bodies: int = 512 * 2**20
    files: int = 64
    samples: int = 1024
    steps: int = 2000
    work: int = 4_000_000_000
    seconds: float = 300.0
    queue: int = 512
    each: int = 256
    answer: int = 256 * 2**20
    send_seconds: float = 60.0
