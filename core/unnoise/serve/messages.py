"""What the server and its worker processes say to each other: plain data, pickled between processes
that are both ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

from unnoise.errors import UnnoiseError


@final
@dataclass(frozen=True)
class Spec:
    """A request for a worker.

    Attributes
    ----------
    id : of the ticket.
    domain, model : names; `request` is what `generate` takes, files by their paths.
    folder : the request's own; its samples go into `folder / "out"`.
    shown : whether the client wants to see looks and a preview.
    """

    id: str
    domain: str
    model: str | None
    request: Mapping[str, Any]
    folder: Path
    shown: bool = False

    @property
    def out(self) -> Path:
        """Where the samples go."""
        return self.folder / "out"


@final
@dataclass(frozen=True)
class Group:
    """Requests that a worker takes at once, and runs together as far as they go together."""

    specs: Sequence[Spec]


@final
@dataclass(frozen=True)
class Cancel:
    """The client of a request has left."""

    id: str


@final
@dataclass(frozen=True)
class Begun:
    """A request runs, in a batch with `company` others."""

    id: str
    samples: int
    company: int


@final
@dataclass(frozen=True)
class Step:
    """How far a request is."""

    id: str
    batch: int
    batches: int
    step: int
    steps: int
    t: float


@final
@dataclass(frozen=True)
class Look:
    """HTML fragments of a few samples at time t."""

    id: str
    t: float
    cells: tuple[str, ...]


@final
@dataclass(frozen=True)
class Batch:
    """Samples that are finished: their numbers and files."""

    id: str
    numbers: tuple[int, ...]
    files: tuple[str, ...]


@final
@dataclass(frozen=True)
class Done:
    """All of a request: its record, its files, and how its domain shows them."""

    id: str
    provenance: Mapping[str, Any]
    files: tuple[str, ...]
    preview: str = ""


@final
@dataclass(frozen=True)
class Failed:
    """A request came to nothing; `error` None stands for a fault, which is `trace`."""

    id: str
    error: UnnoiseError | None
    trace: str = ""


@final
@dataclass(frozen=True)
class Idle:
    """The worker waits for a group."""


FromWorker: TypeAlias = Begun | Step | Look | Batch | Done | Failed | Idle
Told: TypeAlias = Begun | Step | Look | Batch | Done | Failed
"""Those about a request."""
