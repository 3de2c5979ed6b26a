"""What a run of `unnoise generate` that was stopped has left in its folder, so that it goes on.

A journal beside the samples has a row for each batch that is finished: its record and the names of
its files. It goes when the run ends well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from unnoise.engine.output import Output
from unnoise.storage.files import disk_errors
from unnoise.storage.kept import Kept, keeping
from unnoise.storage.tensors import file_digest

JOURNAL: Final = ".unfinished.jsonl"
_ANYWAY: Final = ("batch_size", "deadline", "device", "model", "threads")
"""Options that may differ when a run goes on: the model is compared by its hash."""


@final
class Journal:
    """The batches of a run, those of before and those to come.

    Attributes
    ----------
    records : of all batches, in order.
    files : pairs (input, file of one of its samples).
    """

    def __init__(self, kept: Kept, folder: Path) -> None:
        self._kept, self._folder, self._rows = kept, folder, 0
        self._parts: list[tuple[int, str]] = []
        self.records: list[dict[str, Any]] = []
        self.files: list[tuple[int, Path]] = []
        while (row := kept.get(str(self._rows))) is not None:
            self._rows += 1
            found = [(i, folder / name) for i, name in row["files"]]
            if all(path.exists() for _, path in found) and not {*found} & {*self.files}:
                self.files += found
                self.records.append(dict(row["record"]))

    @property
    def finished(self) -> list[int]:
        """Numbers of the samples that are there."""
        return [number for record in self.records for number in record["ids"]]

    def add(self, output: Output, paths: Sequence[Path]) -> None:
        """An output whose samples were written; a batch that is handed out in pieces counts when
        its last one comes, which has the states."""
        self._parts += zip(output.inputs, (path.name for path in paths), strict=True)
        self.files += zip(output.inputs, paths, strict=True)
        # The record needs no samples: millions fit on the disk, but not in memory.
        self.records.append(output.provenance)
        if output.states is not None:
            record = json.loads(json.dumps(output.provenance, default=str))
            self._kept.add(str(self._rows), {"record": record, "files": self._parts})
            self._rows += 1
            self._parts = []


@contextmanager
def journal(folder: Path, of: Mapping[str, Any], resume: bool) -> Iterator[Journal]:
    """The journal of a run into `folder`: that of an earlier one when it is to be resumed, else a
    new one. Errors: see `keeping`."""
    path = folder / JOURNAL
    with disk_errors(f"keeping {str(path)!r}"):
        if not resume:
            path.unlink(missing_ok=True)
    with keeping(path, of) as kept:
        begun = Journal(kept, folder)
        try:
            yield begun
        except BaseException:
            if not begun.records:  # nothing to go on with
                path.unlink(missing_ok=True)
            raise
    with disk_errors(f"removing {str(path)!r}"):
        path.unlink()


def decides(domain: str, model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides what a run makes: a model's hash, the request, and the files it names."""
    request = {name: value for name, value in given.items() if name not in _ANYWAY}
    files = [word for value in request.values() for word in _words(value) if _is_file(word)]
    return {
        "domain": domain,
        "model": model,
        **{name: json.loads(json.dumps(value, default=str)) for name, value in request.items()},
        "files": {str(path): file_digest(Path(path)) for path in files},
    }


def _words(value: object) -> list[str | Path]:
    several = value if isinstance(value, list | tuple) else [value]
    return [one for one in several if isinstance(one, str | Path)]


def _is_file(word: str | Path) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # a text that is too long for a path, or no path at all
        return False
