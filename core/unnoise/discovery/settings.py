"""What the user decided about plugins, kept in one small JSON file.

The folder is ``$UNNOISE_CONFIG_DIR``, else ``unnoise`` in the platform's place for configuration
(``$XDG_CONFIG_HOME`` or ``~/.config``; ``%APPDATA%`` on Windows).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from unnoise.errors import ConfigError


def config_folder() -> Path:
    """The folder of the user's settings; it need not exist."""
    if chosen := os.environ.get("UNNOISE_CONFIG_DIR"):
        return Path(chosen).expanduser()
    platform = os.environ.get("APPDATA") if os.name == "nt" else os.environ.get("XDG_CONFIG_HOME")
    return (Path(platform) if platform else Path.home() / ".config") / "unnoise"


def read_disabled() -> frozenset[str]:
    """Names of the plugins that the user switched off."""
    path = config_folder() / "plugins.json"
    try:
        disabled = json.loads(path.read_text(encoding="utf-8"))["disabled"]
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(path) from error
    if not isinstance(disabled, list) or not all(isinstance(name, str) for name in disabled):
        raise _unusable(path)
    return frozenset(disabled)


def write_disabled(names: Iterable[str]) -> Path:
    """Replace the file as a whole: a reader sees the old one or the new one, never a part."""
    from unnoise.storage.files import disk_errors, replace_file  # here, for reading must be quick

    path = config_folder() / "plugins.json"
    with disk_errors("saving the settings", "set UNNOISE_CONFIG_DIR to a folder you may write to"):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps({"disabled": sorted(names)}, indent=2).encode())
    return path


def _unusable(path: Path) -> ConfigError:
    return ConfigError(
        "the settings of the plugins cannot be read",
        value=str(path),
        limit='{"disabled": [names]}',
        fix="mend or delete the file",
    )
