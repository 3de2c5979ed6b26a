"""Python processes that need not import torch anew, each of them 2 seconds of a core.

A server imports the libraries below and nothing of this project, and forks for every process: what
is imported, found and remembered of unnoise and its plugins is as in a new process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SERVER = """
import gc, json, os, runpy, sys, traceback
import accelerate, numpy, pydantic, pytest, scipy.stats, torch

torch.set_num_threads(1)
gc.freeze()

def run(words, stdout, stderr, cwd, env):
    for number, path in ((0, os.devnull), (1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:1] = [cwd, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    kind, what, *rest = words
    sys.argv = [kind, *rest]
    try:
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        return 0
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = run(**json.loads(line))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forked:
    """The server; `folder` is for the output of the processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, words: list[str], cwd: Path, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """`python -m MODULE ...` or `python -c CODE ...` in `cwd`."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        files = {name: self._folder / name for name in ("stdout", "stderr")}
        for file in files.values():
            file.write_text("")
        job: dict[str, Any] = {"words": words, "cwd": str(cwd), "env": dict(env)}
        job |= {name: str(file) for name, file in files.items()}
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        said = {name: file.read_text() for name, file in files.items()}
        return subprocess.CompletedProcess(words, code, **said)

    def close(self) -> None:
        self._server.communicate(timeout=60)
