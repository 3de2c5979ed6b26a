"""Plugins for the tests: truly installed distributions, in a folder of their own."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from forked import Forked

from unnoise import api
from unnoise.discovery import registry
from unnoise.model import Model

Install = Callable[..., None]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder that `install` installs into."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def install(site: Path) -> Install:
    """install(plugin, source, distribution=..., **modules): what pip leaves behind for a wheel."""

    def write(
        plugin: str, source: str, distribution: str = "", version: str = "1.0", **modules: str
    ) -> None:
        distribution = distribution or f"unnoise-{plugin}"
        package = distribution.replace("-", "_").lower()
        info = site / f"{package}-{version}.dist-info"
        files = {
            site / package / "__init__.py": source,
            **{site / package / f"{name}.py": text for name, text in modules.items()},
            info / "METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
            info / "entry_points.txt": f"[unnoise]\n{plugin} = {package}\n",
            info / "INSTALLER": "pip\n",
        }
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        record = "".join(f"{path.relative_to(site)},,\n" for path in files)
        (info / "RECORD").write_text(f"{record}{info.name}/RECORD,,\n")

    return write


@pytest.fixture
def editable(site: Path) -> Callable[[Path], None]:
    """editable(source): what `pip install -e` leaves behind of a plugin that `unnoise new` wrote,
    but for its place on the path."""

    def write(source: Path) -> None:
        name = source.name.removeprefix("unnoise-")
        package = f"unnoise_{name.replace('-', '_')}"
        info = site / f"{package}-0.1.0.dist-info"
        info.mkdir()
        readme = (source / "README.md").read_text()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: unnoise-{name}\nVersion: 0.1.0\n"
            f"Requires-Dist: unnoise>=0.1,<0.2\n\n{readme}"
        )
        (info / "entry_points.txt").write_text(f"[unnoise]\n{name} = {package}.plugin\n")
        where = {"url": source.as_uri(), "dir_info": {"editable": True}}
        (info / "direct_url.json").write_text(json.dumps(where))

    return write


@pytest.fixture
def environment(site: Path, tmp_path: Path) -> dict[str, str]:
    """Environment of a process that sees what `install` installed, and no settings of the user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNNOISE_")}
    path = os.pathsep.join(filter(None, [str(site), kept.get("PYTHONPATH", "")]))
    return {
        **kept,
        "PYTHONPATH": path,
        "UNNOISE_CONFIG_DIR": str(tmp_path / "settings"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }


@pytest.fixture
def python(environment: dict[str, str], tmp_path: Path) -> Run:
    """python(*arguments, env={}): run this Python in a process of its own."""

    def run(*words: str, env: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            env={**environment, **env},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    """forked(words, cwd, env): a process that need not import torch anew."""
    server = Forked(tmp_path_factory.mktemp("forked"))
    yield server
    server.close()


@pytest.fixture
def command(python: Run) -> Run:
    """command(*words, env={}): run `unnoise` in a process of its own."""

    def run(*words: str, env: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        return python("-c", "import sys, unnoise.cli as c; sys.exit(c.main())", *words, env=env)

    return run


@pytest.fixture
def here(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """This process sees what `install` installed, and no settings of the user."""
    for name in [name for name in os.environ if name.startswith("UNNOISE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UNNOISE_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.syspath_prepend(str(site))
    modules = set(sys.modules)
    registry.reload()
    yield monkeypatch
    registry.reload()
    for name in set(sys.modules) - modules:
        if str(site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def installed(
    install: Install, here: pytest.MonkeyPatch, site: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Model]:
    """The toy domain as an installed plugin that ships a bundle; returns the shipped model."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "engine"))
    import engine_toy
    from engine_models import model

    hook = (
        "from unnoise.specs import DomainSpec, hookimpl\n\n@hookimpl\ndef unnoise_domains():\n"
        "    return [DomainSpec('toy', target='unnoise_toy.domain:Toy')]\n"
    )
    install("toy", hook, domain=inspect.getsource(engine_toy))
    shipped = model()
    shipped.save(site / "unnoise_toy" / "bundle")
    api._cached_at.cache_clear()
    yield shipped
    api._cached_at.cache_clear()
