"""A whole table: its requests, the shards that are left, the results beside the rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

from unnoise.bulk.engines import Engine
from unnoise.bulk.job import REQUESTS, SAMPLES, Job, Shard
from unnoise.bulk.table import Row, Table
from unnoise.errors import ConfigError, InputError, UnnoiseError, nearest
from unnoise.storage.files import (
    TEMPORARY,
    disk_errors,
    remove_leftovers,
    removed_unused,
    replace_file,
    writable_folder,
)
from unnoise.storage.reading import whole
from unnoise.storage.tensors import file_digest

MANIFEST: Final = "manifest.json"
_HELD: Final = 1 << 20  # bytes of requests that wait for the disk


@final
@dataclass(frozen=True)
class Found:
    """What a finished run has: rows, samples, rows that have none, the first reason, and where."""

    rows: int
    samples: int
    failed: int
    first: str
    table: Path


@final
@dataclass(frozen=True, eq=False)
class Bulk:
    """The samples of every row of a table.

    Attributes
    ----------
    table : the rows.
    job : what all rows share.
    of : what else decides the results, by name: the hash of the model. A folder that holds results
        of something else is refused.
    read : a row as the arguments of `unnoise.generate`; its errors are the row's.
    names : the arguments that a row may give.
    carry : columns that are only carried along.
    size : rows of a shard.
    """

    table: Table
    job: Job
    of: Mapping[str, Any]
    read: Callable[[Row], Row]
    names: frozenset[str]
    carry: frozenset[str] = frozenset()
    size: int = 32

    def run(self, engine: Engine) -> Iterator[float]:
        """Make what is not there yet; the part of all shards that is done, after each.

        Raises
        ------
        InputError : the table has no rows, or a column that is no argument.
        ConfigError : the folder holds results of something else.
        LimitExceeded : the disk is full.
        """
        self._check()
        with disk_errors(f"writing into {str(self.job.out)!r}"):
            shards = self._shards()
            left = [shard for shard in shards if not self.job.folder(shard).is_dir()]
            done = len(shards) - len(left)
        yield done / len(shards)
        for _ in engine.run(self.job, left) if left else ():
            done += 1
            yield done / len(shards)

    def finish(self) -> Found:
        """Write the table with its results, when all shards are there."""
        out, manifest = self.job.out, self._manifest()
        assert manifest is not None
        counts = {"rows": 0, "samples": 0, "failed": 0}
        first = ""

        def results() -> Iterator[list[Mapping[str, Any]]]:
            nonlocal first
            for shard in _listed(manifest):
                for found in self.job.results(shard):
                    made = sum("sample" in one for one in found)
                    counts["rows"] += 1
                    counts["samples"] += made
                    counts["failed"] += not made
                    errors = [f"row {r['row']}: {r['error']}" for r in found if "error" in r]
                    first = first or "".join(errors[:1])
                    yield list(found)

        target = out / f"results{self.table.path.suffix.lower()}"
        with disk_errors("writing the results"):
            temporary = target.with_name(f"{TEMPORARY}{target.name}")
            self.table.write(temporary, results())
            temporary.replace(target)
            replace_file(out / MANIFEST, _bytes({**manifest, "complete": True, **counts}))
            remove_leftovers(out / SAMPLES)
        if counts["failed"] == counts["rows"]:
            raise InputError(f"none of {counts['rows']} rows has samples", value=first)
        return Found(counts["rows"], counts["samples"], counts["failed"], first, target)

    def _check(self) -> None:
        unknown = [n for n in self.table.columns if n not in self.names | self.carry]
        if unknown:
            near = nearest(unknown[0], self.names)
            raise InputError(
                f"the table has a column that is no field of {self.job.domain!r}",
                value=unknown[0],
                limit=", ".join(map(repr, sorted(self.names))),
                fix=f"{near} or carry it along: carry={unknown[0]}".removeprefix(" or "),
            )
        if missing := sorted(self.carry - set(self.table.columns)):
            raise InputError("the table has no such column", value=missing[0])

    def _shards(self) -> list[Shard]:
        """Those of the run that the folder holds, or of a new one."""
        decides = {
            "domain": self.job.domain,
            "table": file_digest(self.table.path),
            "given": json.loads(json.dumps(self.job.common, default=str)),
            "carry": sorted(self.carry),
            "size": self.size,
            **self.of,
        }
        if (known := self._manifest()) is not None:
            before = known.get("of", {})
            names = sorted(n for n in {*before, *decides} if before.get(n) != decides.get(n))
            if names:
                raise ConfigError(
                    f"{str(self.job.out)!r} holds results of something else: another"
                    f" {' and '.join(names)}",
                    fix="name another folder, or remove this one",
                )
            return _listed(known)
        with removed_unused(self.job.out / SAMPLES):
            writable_folder(self.job.out / SAMPLES)
            shards = self._write_requests()
        replace_file(
            self.job.out / MANIFEST,
            _bytes({"of": decides, "complete": False, "shards": [asdict(one) for one in shards]}),
        )
        return shards

    def _write_requests(self) -> list[Shard]:
        shards: list[Shard] = []
        first = begin = place = row = 0
        temporary = self.job.out / f"{TEMPORARY}{REQUESTS}"
        try:
            with open(temporary, "wb", buffering=_HELD) as file:
                for row, given in enumerate(self.table.rows(), 1):
                    place += file.write(_bytes(self._request(given)) + b"\n")
                    if row - first == self.size:
                        shards.append(Shard(len(shards), first, begin, place))
                        first, begin = row, place
            if row > first:
                shards.append(Shard(len(shards), first, begin, place))
            if not shards:
                raise InputError("the table has no rows", value=str(self.table.path))
            temporary.replace(self.job.out / REQUESTS)
        finally:  # of a table that is wrong nothing is left
            temporary.unlink(missing_ok=True)
        return shards

    def _request(self, given: Row) -> Row:
        try:
            for name, value in given.items():
                whole(value if isinstance(value, str) else repr(value), name)
            request = self.read({n: v for n, v in given.items() if n not in self.carry})
            return {"request": json.loads(json.dumps(request, default=_unwritable))}
        except UnnoiseError as error:
            return {"error": " ".join(str(error).split())}

    def _manifest(self) -> dict[str, Any] | None:
        path = self.job.out / MANIFEST
        if not path.exists():
            return None
        try:
            return dict(json.loads(path.read_text("utf-8")))
        except ValueError as error:
            raise ConfigError(
                "the manifest in this folder is damaged", value=str(path), fix="remove the folder"
            ) from error


def _listed(manifest: Mapping[str, Any]) -> list[Shard]:
    return [Shard(**one) for one in manifest["shards"]]


def _bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _unwritable(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise InputError(
        "a cell of this kind is no value of a request",
        value=type(value).__name__,
        limit="text, numbers, true and false, lists of them",
    )
