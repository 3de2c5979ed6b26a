"""The record of a measurement: one line of JSON for each finished batch, so that a run that was
stopped goes on where it was.

The first line says what is measured, by a hash of it. A record of something else is refused, and a
line that was cut off when the run was killed is measured again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

from unnoise.errors import InputError
from unnoise.storage.files import disk_errors


@final
class Record:
    """Lines by key, in memory, and in the file `path` where there is one.

    Raises InputError when the file is a record of another measurement.
    """

    def __init__(self, path: Path | None, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, dict(about)
        self._lines: dict[str, dict[str, Any]] = {}
        if path is None:
            return
        with disk_errors(f"writing the record {str(path)!r}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or not path.stat().st_size:
                self._write(path, {"about": self.about}, "w")
                return
            self._read(path)

    def get(self, key: str) -> dict[str, Any] | None:
        """What is known of a key."""
        return self._lines.get(key)

    def put(self, key: str, line: Mapping[str, Any]) -> None:
        """Remember, on the disk before it returns."""
        self._lines[key] = dict(line)
        if self.path is not None:
            with disk_errors(f"writing the record {str(self.path)!r}"):
                self._write(self.path, {"key": key, **line}, "a")

    def _read(self, path: Path) -> None:
        lines = list(_parsed(path))
        head = lines[0].get("about") if lines else None
        if head != json.loads(json.dumps(self.about)):
            raise InputError(
                f"{str(path)!r} is the record of another measurement",
                value=head,
                limit=self.about,
                fix="name another file",
            )
        for line in lines[1:]:
            self._lines[line.pop("key")] = line
        if not path.read_bytes().endswith(b"\n"):
            with open(path, "ab") as file:
                file.write(b"\n")

    @staticmethod
    def _write(path: Path, line: Mapping[str, Any], mode: str) -> None:
        with open(path, mode, encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _parsed(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            found = json.loads(text)
        except ValueError:
            continue  # cut off
        if isinstance(found, dict) and ("key" in found or "about" in found):
            yield found
