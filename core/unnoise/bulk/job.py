"""One shard of a job: some rows, each a request, made into samples in a folder of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from unnoise.api import generate_iter
from unnoise.engine.output import Output, merged, record
from unnoise.storage.files import disk_errors, new_folder, write_file
from unnoise.storage.tensors import file_digest

REQUESTS: Final = "requests.jsonl"
SAMPLES: Final = "samples"
MADE: Final = "results.jsonl"


@final
@dataclass(frozen=True)
class Shard:
    """Rows `first` and on, which are the bytes from `begin` to `end` of the file of requests."""

    number: int
    first: int
    begin: int
    end: int


@final
@dataclass(frozen=True)
class Job:
    """What everyone is told who makes shards: a value that travels between processes.

    Attributes
    ----------
    domain : its name.
    model : a bundle folder or a hub id; None for the shipped one.
    out : the folder of results, which all of them see.
    common : arguments of `unnoise.generate` for rows that do not give them.
    """

    domain: str
    model: str | None
    out: Path
    common: Mapping[str, Any]

    def folder(self, shard: Shard) -> Path:
        """Where the samples of a shard are, or will be."""
        return self.out / SAMPLES / f"{shard.number:06d}"

    def made(self, shard: Shard) -> None:
        """Make what is not there yet: the folder of the shard appears whole, or not at all."""
        target = self.folder(shard)
        if target.is_dir():
            return
        with disk_errors("saving samples"):
            try:
                with new_folder(target) as folder:
                    lines = [
                        json.dumps(result)
                        for row, given in enumerate(self._rows(shard), shard.first)
                        for result in self._row(row, given, folder, f"{SAMPLES}/{target.name}")
                    ]
                    write_file(folder / MADE, "".join(f"{line}\n" for line in lines).encode())
            except OSError:
                if not target.is_dir():  # else somebody else has made it, from the same
                    raise

    def results(self, shard: Shard) -> Iterator[list[dict[str, Any]]]:
        """The results of each row of a shard that was made."""
        found: dict[int, list[dict[str, Any]]] = {}
        for line in (self.folder(shard) / MADE).read_text("utf-8").splitlines():
            result = json.loads(line)
            found.setdefault(result["row"], []).append(result)
        return iter(found.values())

    def _rows(self, shard: Shard) -> list[dict[str, Any]]:
        with open(self.out / REQUESTS, "rb") as file:
            file.seek(shard.begin)
            return [json.loads(line) for line in file.read(shard.end - shard.begin).splitlines()]

    def _row(
        self, row: int, given: dict[str, Any], shard: Path, place: str
    ) -> Iterator[dict[str, Any]]:
        """Make the samples of a row in `shard`, a folder that will be `place` below the folder of
        results; its results. What cannot be made is a result, too: one wrong row does not lose the
        others."""
        folder = shard / f"{row:07d}"
        records: list[dict[str, Any]] = []
        files: list[Path] = []
        try:
            for output in self._outputs(row, given):
                with disk_errors("saving samples"):
                    files += output.write(folder)
                records.append(output.provenance)
        except _Failed as failed:
            shutil.rmtree(folder, ignore_errors=True)
            yield {"row": row, "error": str(failed)}
            return
        whole = merged(records)
        record(folder, whole, files, ())
        numbers = [number for one in records for number in one["ids"]]
        for number, path in zip(numbers, files, strict=True):
            where = f"{place}/{folder.name}/{path.name}"
            yield {"row": row, "sample": number, "file": where, "sha256": file_digest(path)}
        for one in whole.get("refused", ()):
            yield {"row": row, "error": f"{one['where']}: {one['reason']}"}

    def _outputs(self, row: int, given: dict[str, Any]) -> Iterator[Output]:
        """The batches of a row's request. A row without a seed has the common one plus its number:
        equal requests are not equal samples."""
        common = {"threads": 1, **self.common}
        common["seed"] = common.get("seed", 0) + row
        try:
            if "error" in given:
                raise _Failed(given["error"])
            yield from generate_iter(
                self.domain, model=self.model, **{**common, **given["request"]}
            )
        except _Failed:
            raise
        except Exception as error:  # also of a plugin's fault: it is said, and the others go on
            kind = "" if type(error).__module__ == "unnoise.errors" else f"{type(error).__name__}: "
            raise _Failed(f"{kind}{' '.join(str(error).split())}") from error


class _Failed(Exception):
    """A row that has no samples, and why."""
