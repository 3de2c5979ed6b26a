"""Nine plugins that go wrong in nine ways, as wheels that pip installs.

    python tests/core/discovery/broken_plugins.py FOLDER      install all of them into FOLDER

and put FOLDER on PYTHONPATH. Each entry says what a user is told: what is wrong, how to mend it.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from unnoise.specs import API_VERSION


class Broken(NamedTuple):
    """The light module of a plugin, and what `unnoise plugins show` must say about it."""

    source: str
    state: str
    reason: str
    fix: str


_HEAD = "from unnoise.specs import DomainSpec, SamplerSpec, hookimpl\n\n@hookimpl\n"
_DOMAIN = _HEAD + "def unnoise_domains({arguments}):\n    {body}\n"

BROKEN = {
    "raises-at-import": Broken(
        "raise RuntimeError('no weather today')",
        "broken",
        "RuntimeError: no weather today",
        "unnoise plugins disable raises-at-import",
    ),
    "raises-in-hook": Broken(
        _DOMAIN.format(arguments="", body="raise ValueError('bad day')"),
        "broken",
        "ValueError: bad day",
        "report it to its authors, or: unnoise plugins disable raises-in-hook",
    ),
    "unknown-argument": Broken(
        _DOMAIN.format(arguments="city", body="return []"),
        "broken",
        "Argument(s) {'city'}",
        "must use the hooks there are, none with an argument: unnoise_domains,",
    ),
    "wrong-version": Broken(
        _DOMAIN.format(
            arguments="", body="return [DomainSpec('future', 'of 2040', 'a:b', api_version=99)]"
        ),
        "broken",
        f"'future' speaks version 99 of the plugin interface; allowed: version {API_VERSION}",
        "pip install -U unnoise",
    ),
    "nonsense": Broken(
        _DOMAIN.format(arguments="", body="return 42"),
        "broken",
        "unnoise_domains returned 42; allowed: a list of DomainSpec",
        "unnoise plugins disable nonsense",
    ),
    "taken-name": Broken(
        _HEAD + "def unnoise_samplers():\n    return [SamplerSpec('ddim', 'mine', 'a:b')]\n",
        "conflict",
        "the name 'ddim' (samplers) is taken twice: by unnoise ",
        "uninstall one of them, or: unnoise plugins disable unnoise-taken-name",
    ),
    "hangs": Broken(
        "import time\ntime.sleep(3600)",
        "broken",
        "it was still loading after 5 s",
        "`unnoise plugins doctor` tries it again",
    ),
    "missing-library": Broken(
        "import not_to_be_had",
        "broken",
        "it needs the library 'not_to_be_had', which is not installed",
        "`pip check` lists what is missing, or: unnoise plugins disable missing-library",
    ),
    "prints": Broken(
        "print('good morning')\n"
        + _DOMAIN.format(arguments="", body="return [DomainSpec('loud', 'prints', 'a:b')]"),
        "ok",
        "printed while loading: good morning",
        "it works; ask its authors not to print at import",
    ),
}


def wheel(plugin: str, source: str, folder: Path, version: str = "1.0") -> Path:
    """Write a wheel of a distribution `unnoise-PLUGIN` with the module `source`. Needs no tool."""
    package = f"unnoise_{plugin.replace('-', '_')}"
    info = f"{package}-{version}.dist-info"
    files = {
        f"{package}/__init__.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: unnoise-{plugin}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[unnoise]\n{plugin} = {package}\n",
    }
    record = [f"{name},{_digest(text)},{len(text.encode())}" for name, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    path = folder / f"{package}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def install(folder: Path) -> None:
    """pip install all nine into `folder`, without network."""
    with tempfile.TemporaryDirectory() as place:
        wheels = [str(wheel(name, one.source, Path(place))) for name, one in BROKEN.items()]
        words = ["pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(folder)]
        subprocess.run([sys.executable, "-m", *words, *wheels], check=True)


def _digest(text: str) -> str:
    raw = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


if __name__ == "__main__":
    install(Path(sys.argv[1]))
