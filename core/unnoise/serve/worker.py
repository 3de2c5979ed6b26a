"""A worker process: it keeps models, takes groups of requests, and writes their samples."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, final

from unnoise.api import model_for
from unnoise.demo.section import check_fragment
from unnoise.discovery.domains import domain_named
from unnoise.domain import Domain
from unnoise.engine.output import RECORD, Output, gathered, merged, record
from unnoise.engine.run import BATCH, Job, outputs, ready
from unnoise.engine.together import company, run_together
from unnoise.errors import Cancelled, LimitExceeded, UnnoiseError
from unnoise.model import Model
from unnoise.serve.limits import Limits
from unnoise.serve.messages import Batch, Begun, Done, Failed, Group, Idle, Spec
from unnoise.serve.watch import Relay, Watch, heard

_SHOWN: Final = 64  # samples of a preview
_LEFT: Final = (EOFError, BrokenPipeError, ConnectionResetError)  # the server is gone


@final
@dataclass(frozen=True)
class Setup:
    """What a worker is told when it is started: its empty folder, the folders of models by name,
    and how it computes."""

    nowhere: Path
    models: Mapping[str, str]
    limits: Limits
    options: Mapping[str, Any]


@final
@dataclass(eq=False)
class _Kept:
    """What is made of a request so far."""

    spec: Spec
    domain: Domain
    job: Job
    relay: Relay
    records: list[dict[str, Any]] = field(default_factory=list)
    files: list[tuple[int, Path]] = field(default_factory=list)
    samples: dict[int, list[Any]] = field(default_factory=dict)

    def add(self, output: Output) -> Batch:
        """Write an output. Raises LimitExceeded."""
        paths = output.write(self.spec.out)
        self.records.append(output.provenance)
        self.files += zip(output.inputs, paths, strict=True)
        numbers = tuple(output.provenance["ids"])
        if self.spec.shown:
            for number, sample in zip(numbers, output.samples, strict=True):
                if len(self.samples) < _SHOWN or number in self.samples:
                    self.samples.setdefault(number, []).append(sample)
        return Batch(self.spec.id, numbers, tuple(path.name for path in paths))

    def finished(self, limit: int) -> Done:
        """All of it."""
        out, whole = self.spec.out, merged(self.records)
        found = gathered(self.domain, self.files, out)
        record(out, whole, found, ())
        files = tuple(sorted(p.name for p in out.iterdir() if p.is_file() and p.name != RECORD))
        size = sum((out / name).stat().st_size for name in files)
        if size > limit:
            raise LimitExceeded(
                "the files of this answer are too large",
                value=f"{size} bytes",
                limit=f"{limit} bytes",
                fix="ask for fewer samples at once; more of a seed come with other requests",
            )
        named = {**whole, "files": [path.name for path in found]}
        return Done(self.spec.id, _unrooted(named, self.spec.folder), files, self._preview())

    def _preview(self) -> str:
        if not self.samples:
            return ""
        joined = [p[0] if len(p) == 1 else self.domain.join(p) for p in self.samples.values()]
        display = self.domain.display
        return check_fragment(display.preview(joined), f"{type(display).__name__}.preview")


def work(line: Connection, setup: Setup) -> None:
    """Serve groups until the server goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the server says when to stop
    os.chdir(setup.nowhere)
    worker = _Worker(line, setup)
    with suppress(*_LEFT):
        line.send(Idle())
        while True:
            message = line.recv()
            if isinstance(message, Group):
                worker.serve(message.specs)
                line.send(Idle())


@final
class _Worker:
    def __init__(self, line: Connection, setup: Setup) -> None:
        self._line, self._setup = line, setup
        self._models: dict[tuple[str, str | None], Model] = {}
        self._gone: set[str] = set()

    def serve(self, specs: Sequence[Spec]) -> None:
        """Run requests, those that go together in one batch."""
        self._gone.clear()
        kept = [one for spec in specs for one in self._guarded([spec], partial(self._ready, spec))]
        for unit in _units(kept):
            if len(unit) == 1 or not self._together(unit):
                for one in unit:
                    self._guarded([one.spec], partial(self._alone, one))

    def _ready(self, spec: Spec) -> Iterator[_Kept]:
        heard(self._line, self._gone)
        domain, relay = domain_named(spec.domain), Relay()
        asked = {**self._setup.options, **spec.request, "callback": relay}
        job = ready(domain, self._model(domain, spec.model), asked)
        limit = self._setup.limits.samples
        if len(job.draws) > limit:
            raise LimitExceeded(
                "too many samples in one request",
                value=len(job.draws),
                limit=limit,
                fix="lower num_samples; more of a seed come with other requests",
            )
        yield _Kept(spec, domain, job, relay)

    def _alone(self, one: _Kept) -> Iterator[None]:
        self._watched([one])
        for output in outputs(one.job):
            self._line.send(one.add(output))
        self._line.send(one.finished(self._setup.limits.answer))
        yield

    def _together(self, unit: Sequence[_Kept]) -> bool:
        """Run several requests in one batch; False where that failed and each is run alone."""
        self._watched(unit)
        try:
            made = list(run_together([one.job for one in unit]))
        except _LEFT:
            raise
        except Exception:  # one's trouble is no other's: alone it is said to whose it is
            return False
        for place, one in enumerate(unit):
            self._guarded([one.spec], partial(self._handed, one, place, made))
        return True

    def _handed(self, one: _Kept, place: int, made: Sequence[tuple[int, Output]]) -> Iterator[None]:
        if one.spec.id in self._gone:
            raise _gone()
        for owner, output in made:
            if owner == place:
                self._line.send(one.add(output))
        self._line.send(one.finished(self._setup.limits.answer))
        yield

    def _watched(self, unit: Sequence[_Kept]) -> None:
        first, rows, specs = 0, [], [one.spec for one in unit]
        for one in unit:
            rows.append(range(first, first + len(one.job.draws)))
            first += len(one.job.draws)
            self._line.send(Begun(one.spec.id, len(one.job.draws), len(unit) - 1))
        watch = Watch(
            self._line,
            self._setup.limits,
            self._gone,
            unit[0].domain,
            unit[0].job.setting.model,
            specs,
            rows,
        )
        for one in unit:
            one.relay.watch = watch

    def _guarded(self, specs: Sequence[Spec], run: Callable[[], Iterator[Any]]) -> list[Any]:
        """What `run` yields; what it raises is said to the clients of `specs`."""
        try:
            if any(spec.id in self._gone for spec in specs):
                raise _gone()
            return list(run())
        except _LEFT:
            raise
        except UnnoiseError as error:
            for spec in specs:
                self._line.send(Failed(spec.id, _plain(error, spec.folder)))
        except Exception:
            trace = traceback.format_exc()
            for spec in specs:
                self._line.send(Failed(spec.id, None, trace))
        return []

    def _model(self, domain: Domain, name: str | None) -> Model:
        key = (domain.name, name)
        if key not in self._models:
            self._models[key] = model_for(domain, self._setup.models.get(name or "", name))
        return self._models[key]


def _units(kept: Sequence[_Kept]) -> list[list[_Kept]]:
    """Requests that share a batch, in the order of the first of each."""
    units: list[list[_Kept]] = []
    open_: dict[Any, list[_Kept]] = {}
    for one in kept:
        key = company(one.job)
        unit = open_.get(key) if key is not None else None
        if unit is not None and sum(len(o.job.draws) for o in [*unit, one]) <= BATCH:
            unit.append(one)
            continue
        units.append(unit := [one])
        if key is not None:
            open_[key] = unit
    return units


def _gone() -> UnnoiseError:
    return Cancelled("nobody waits for this any more")


def _plain(error: UnnoiseError, folder: Path) -> UnnoiseError:
    """The error as texts and numbers, which any process can read, without the server's paths."""
    kinds = (type(None), bool, int, float, str)
    value = error.value if type(error.value) in kinds else repr(error.value)
    limit = error.limit if type(error.limit) in kinds else str(error.limit)
    kind = next(k for k in type(error).__mro__ if k.__module__ == "unnoise.errors")
    found: UnnoiseError = kind(
        _unrooted(error.message, folder),
        value=_unrooted(value, folder),
        limit=_unrooted(limit, folder),
        fix=_unrooted(error.fix, folder),
    )
    return found


def _unrooted(value: Any, folder: Path) -> Any:
    """Texts in which a file of the request has its name alone."""
    if isinstance(value, str):
        parts = value.split(f"{folder / 'in'}{os.sep}")
        return parts[0] + "".join(part.partition(os.sep)[2] for part in parts[1:])
    if isinstance(value, Mapping):
        return {name: _unrooted(one, folder) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_unrooted(one, folder) for one in value]
    return value
