"""Every block of code of the site and the READMEs: Python runs, commands are ones that exist."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import types
from functools import cache
from pathlib import Path

import pytest

from builder import blocks
from builder.commands import said
from unnoise.cli import COMMANDS
from unnoise.discovery import registry

ROOT = Path(__file__).parents[2]
READMES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("plugins/*/README.md"))]
OTHERS = {"howto/text-to-speech", "howto/latent-space"}
"""Pages whose blocks run in tests of their plugins, `test_guide.py`."""
PAGES = [name for name in blocks.names() if name not in OTHERS]


def text(name: str) -> str:
    path = ROOT / name
    return path.read_text(encoding="utf-8") if name in READMES else blocks.text_of(name)


def python(name: str, *, slow: bool) -> list[str]:
    """The blocks that run, with those that take long or without."""
    found = []
    for block in blocks.blocks(text(name)):
        if block.kind == "python" and (block.why is None or (slow and block.why == "slow")):
            found.append(block.code)
    return found


def run(codes: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    page = types.ModuleType("page")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, "page", page)
    for code in codes:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, "page", "exec"), page.__dict__)


@pytest.mark.parametrize("name", [p for p in PAGES if python(p, slow=False)])
def test_python_runs(name, tmp_path, monkeypatch):
    run(python(name, slow=False), tmp_path, monkeypatch)


SLOW = [p for p in PAGES if python(p, slow=True) != python(p, slow=False)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_slow_python_runs(name, tmp_path, monkeypatch):
    run(python(name, slow=True), tmp_path, monkeypatch)


@pytest.mark.parametrize("name", [*READMES, *blocks.names()])
def test_python_is_python(name):
    for block in blocks.blocks(text(name)):
        if block.kind == "python" and block.why != "lines of a method":
            compile(block.code, name, "exec")


@pytest.mark.parametrize("name", blocks.names())
def test_what_is_not_run_says_why(name):
    for block in blocks.blocks(text(name)):
        assert block.why is None or block.why == "slow" or len(block.why.split()) > 2, block.why
        assert block.kind, f"a block without a language: {block.code[:60]}"


@cache
def flags(command: tuple[str, ...]) -> set[str]:
    return set(re.findall(r"--[a-z0-9][a-z0-9-]*", said(command)))


def wrong(words: list[str]) -> list[str]:
    """What there is not in a command line of unnoise: the command, the domain, a flag."""
    name, rest = words[0], words[1:]
    if name.startswith("-") or name.isupper():
        return []
    if name not in COMMANDS:
        return [name]
    domain = rest[0] if rest else ""
    if not COMMANDS[name].parses or domain.isupper() or domain.startswith("-"):
        return []
    if domain not in registry.domains():
        return [] if domain in MADE else [domain]
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    known = flags((name, domain)) | {"--debug", "--quiet"}
    return [flag for flag in given if flag not in known and not nested(flag, known)]


MADE = {"tides", "thaw-toy", "weather"}
"""Domains that the guide makes."""


def nested(flag: str, known: set[str]) -> bool:
    """--card.data of --card, --settings.layers of --settings; --no-flip of --flip."""
    return flag.partition(".")[0] in known or f"--{flag[5:]}" in known


@pytest.mark.parametrize("name", [*READMES, *blocks.names()])
def test_commands_exist(name):
    """Each `unnoise ...` has a command, a domain and flags that there are, each script is there."""
    for block in blocks.blocks(text(name)):
        if block.kind != "sh" or block.why is not None:
            continue
        for line in block.commands:
            words = shlex.split(" ".join(map(shlex.quote, line)).replace("'&&'", "&&"))
            for part in split(words):
                assert not problem(part), (name, problem(part), part)


def split(words: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", ";", "|"):
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def problem(words: list[str]) -> object:
    if "unnoise" in words[:1] or words[1:3] == ["-m", "unnoise"]:
        return wrong(words[1:] if words[0] == "unnoise" else words[3:])
    if words[:1] == ["python"] and words[1:2] and words[1].startswith(("tests/", "plugins/", "ex")):
        return None if (ROOT / words[1]).is_file() else words[1]
    return None
