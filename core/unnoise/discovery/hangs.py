"""Plugins that were still loading at the limit, remembered so that the wait is paid once.

One JSON file beside the settings: for each such plugin, a fingerprint of its files at that time.
While that is the same, the plugin is left out without being tried; changed files, an update,
`unnoise plugins doctor` or `enable` try it again. The file is a cache: what cannot be read or
written only costs the wait.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from unnoise.discovery.settings import config_folder

_FILE: Final = "hangs.json"


def fingerprint(module: str, version: str) -> str:
    """What changes when the code of `module` does: names, sizes and times of its package's files.

    Nothing is imported: only the top of the dotted name is looked for.
    """
    parts = [version, module]
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
        places = (
            [] if spec is None else list(spec.submodule_search_locations or [spec.origin or ""])
        )
        for place in filter(None, places):
            folder = Path(place)
            for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
                state = path.stat()
                parts += [str(path), str(state.st_mtime_ns), str(state.st_size)]
    except (ImportError, OSError, ValueError, AttributeError):
        pass  # what was found so far; an update changes the version
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def remembered(key: str, mark: Callable[[], str]) -> bool:
    """Whether the plugin `key` hung when its fingerprint, asked for if need be, was what it is."""
    found = _read().get(key)
    return found is not None and found == mark()


def remember(key: str, mark: str) -> None:
    _write({**_read(), key: mark})


def forget() -> None:
    """Try every plugin again."""
    try:
        (config_folder() / _FILE).unlink(missing_ok=True)
    except OSError:
        return


def _read() -> dict[str, str]:
    try:
        found = json.loads((config_folder() / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(marks: dict[str, str]) -> None:
    from unnoise.errors import UnnoiseError
    from unnoise.storage.files import replace_file  # here, for reading must be quick

    folder = config_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / _FILE, json.dumps(marks, indent=2).encode())
    except (OSError, UnnoiseError):
        return
