"""One request of an installed domain in a process that has no network and watches every file that
is opened for writing. `python -m unnoise.testing.sandbox NAME FOLDER REQUEST` prints JSON:

    {"error": ..., "network": [...], "written": [...], "files": [...]}

An audit hook sees what Python code does; files that native code leaves in the working directory,
the home or the temporary folder of the process are found by looking afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

_NETWORK: Final = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_CACHES: Final = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR")
_SECONDS: Final = 300


@final
@dataclass(frozen=True)
class Facts:
    """What a request did: the error that ended it, addresses it asked for, files it wrote outside
    its output folder, and those inside."""

    error: str
    network: tuple[str, ...]
    outside: tuple[str, ...]
    files: tuple[str, ...]


def observe(name: str, request: dict[str, Any]) -> Facts:
    """Run `unnoise.generate(name, **request).save(folder)` in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="unnoise-check-") as base:
        root = Path(base).resolve()
        folders = {part: root / part for part in ("out", "home", "work", "tmp", "cache")}
        for folder in folders.values():
            folder.mkdir()
        kept = {n: v for n, v in os.environ.items() if n != "UNNOISE_CONFIG_DIR"}
        environment = {
            **kept,
            "HOME": str(folders["home"]),
            "TMPDIR": str(folders["tmp"]),
            # caches of libraries are not results
            **{n: str(folders["cache"]) for n in _CACHES},
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        words = [name, str(folders["out"]), json.dumps(request)]
        run = subprocess.run(
            [sys.executable, "-m", "unnoise.testing.sandbox", *words],
            env=environment,
            cwd=folders["work"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        try:
            said = json.loads(run.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            tail = " ".join(run.stderr.split())[-300:]
            return Facts(f"the process ended with {run.returncode}: {tail}", (), (), ())
        left = [p for part in ("home", "work", "tmp") for p in folders[part].rglob("*")]
        found = [path for path in left if path.is_file()]
        wrote = [Path(text) for text in said["written"]]
        inside = (folders["out"], folders["cache"])
        strays = [p for p in wrote if p.exists() and not any(f in (p, *p.parents) for f in inside)]
        outside = dict.fromkeys(_shown(path, root) for path in (*found, *strays))
        files = [str(p.relative_to(folders["out"])) for p in folders["out"].rglob("*")]
        return Facts(said["error"], tuple(said["network"]), tuple(outside), tuple(sorted(files)))


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if root in path.parents else str(path)


def _main(name: str, folder: str, request: str) -> None:
    network: list[str] = []
    written: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NETWORK:
            known = [v for v in arguments if isinstance(v, (str, int, tuple))]
            network.append(f"{event}: {known}")
            raise OSError("this process has no network")
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            _, mode, flags = arguments
            writes = any(c in mode for c in "wax+") if isinstance(mode, str) else flags & _WRITING
            if writes:
                written.append(os.path.abspath(os.fsdecode(arguments[0])))  # noqa: PTH100
        elif event in ("os.mkdir", "os.rename"):
            path = arguments[0] if event == "os.mkdir" else arguments[1]
            if isinstance(path, (str, os.PathLike)) and not os.path.exists(path):  # noqa: PTH110
                written.append(os.path.abspath(os.fspath(path)))  # noqa: PTH100

    sys.addaudithook(hook)
    from unnoise.api import generate

    error = ""
    try:
        generate(name, **json.loads(request)).save(folder)
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    kept = [path for path in dict.fromkeys(written) if path != os.devnull]
    sys.stdout.write(json.dumps({"error": error, "network": network, "written": kept}) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:4])
