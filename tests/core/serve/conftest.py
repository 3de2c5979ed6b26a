"""A server of the toy domain, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
sys.path.insert(0, str(Path(__file__).parent))
from asking import Server, until

PLUGIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec("toy", summary="points around a centre", target="unnoise_toy.domain:Toy")]
"""
DOMAIN = """
import html
import os
import signal
import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

import engine_toy
from unnoise.display import Display
from unnoise.errors import InputError
from unnoise.specs import Files

class Request(engine_toy.Request):
    note: str = ""
    text: Annotated[Any, Files((".txt",), words=("none",))] = None
    any: Annotated[list[Any] | Any, Files()] = None
    secret: Annotated[Any, Files(words=("known",), sent=False)] = None
    slow: float = Field(0.0, ge=0, le=60, description="seconds that a step takes")
    fault: str = ""

class Shown(Display):
    def preview(self, samples):
        return "".join(f"<p>{html.escape(str(sample))}</p>" for sample in samples)

    def moments(self, frames, rows, model):
        return [[f"<i>{float(f.x[k, 0]):.3f}</i>" for f in frames] for k in rows]

class Toy(engine_toy.Toy):
    Request = Request
    bundle = Path(__file__).parent / "bundle"
    display = Shown()
    demo = {"num_samples": 2, "text": str(Path(__file__).parent / "bundle" / "config.json")}

    def alike(self, prepared, model):
        return repr(prepared[1].model_dump(exclude={"centre"}))

    def prepare(self, request, model, options):
        for path in (request.text, *(request.any if isinstance(request.any, list) else ())):
            if isinstance(path, Path):
                if not path.read_text().strip():
                    raise InputError("the file is empty", value=str(path), fix="write into it")
        if request.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if request.fault == "bug":
            raise RuntimeError("a bug")
        return super().prepare(request, model, options)

    def plan(self, inputs, model, draws):
        time.sleep(inputs[0][1].slow)
        return (yield from super().plan(inputs, model, draws))
"""


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the toy domain is installed, with a model."""
    from engine_models import POINTS

    site = tmp_path_factory.mktemp("site")
    package, info = site / "unnoise_toy", site / "unnoise_toy-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text(PLUGIN)
    (package / "domain.py").write_text(DOMAIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unnoise-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[unnoise]\ntoy = unnoise_toy\n")
    POINTS.save(package / "bundle")
    return site


@pytest.fixture(scope="session")
def start(toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """start(*flags, env={}): a server of the toy domain."""
    running: list[subprocess.Popen[str]] = []

    def run(*flags: str, env: dict[str, str] | None = None) -> Server:
        folder = tmp_path_factory.mktemp("server")
        engine = Path(__file__).parents[1] / "engine"
        path = os.pathsep.join(map(str, [toy_site, engine, os.environ.get("PYTHONPATH", "")]))
        kept = {k: v for k, v in os.environ.items() if not k.startswith("UNNOISE_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "unnoise", "serve", "--port", "0", *flags],
            env={
                **kept,
                "PYTHONPATH": path,
                "TMPDIR": str(folder),
                "UNNOISE_PLUGINS": "toy",
                "UNNOISE_CONFIG_DIR": str(folder / "settings"),
                "OMP_NUM_THREADS": "1",
                **(env or {}),
            },
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), url
        until(lambda: _healthy(url))
        return Server(url, process, folder)

    yield run
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        process.wait(20)


@pytest.fixture(scope="session")
def server(start: Callable[..., Any]) -> Any:
    """One for many tests, which leave it as it was."""
    return start("--body-seconds", "3")


@pytest.fixture(scope="session")
def strict(start):
    """A server that asks for a token and takes on little."""
    flags = (
        "--name",
        "example.net",
        "--queue",
        "1",
        "--samples",
        "8",
        "--work",
        "100",
        "--seconds",
        "2",
    )
    return start(*flags, env={"UNNOISE_TOKEN": "sesame"})


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False
