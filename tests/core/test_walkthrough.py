"""The guide's way from a command to a plugin, walked literally: its commands, and its changes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GUIDE = (Path(__file__).parents[2] / "docs/pages/plugins/guide.md").read_text(encoding="utf-8")
SECTION = GUIDE.split("## From a command to a plugin\n")[1].split("\n## ")[0]


def change(diff: str, folder: Path) -> None:
    """Apply the hunks of a diff, each of which fits one place."""
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        name, *hunks = re.split(r"^@@.*\n", part, flags=re.MULTILINE)
        path = folder / name.strip()
        text = path.read_text(encoding="utf-8")
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            assert text.count(old) == 1, hunk
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def steps() -> Iterator[tuple[str, str]]:
    for kind, block in re.findall(r"```(sh|diff)\n(.*?)```", SECTION, re.DOTALL):
        if kind == "diff":
            yield kind, block
        else:
            yield from ((kind, line) for line in block.splitlines())


def words(line: str) -> list[str]:
    """Arguments of Python that do what the line says, with little training."""
    program, *rest = shlex.split(line)
    if rest[:1] == ["train"]:
        rest[rest.index("--steps") + 1] = "3"
    return rest if program == "python" else ["-m", "unnoise", *rest]


@pytest.mark.slow
def test_the_walk(tmp_path, environment, editable):
    done: list[str] = []
    for kind, step in steps():
        if kind == "diff":
            change(step, tmp_path)
        elif step.startswith("pip install -e "):
            source = tmp_path / step.split()[-1]
            editable(source)
            environment["PYTHONPATH"] = f"{source}{os.pathsep}{environment['PYTHONPATH']}"
        else:
            run = subprocess.run(
                [sys.executable, *words(step)],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert run.returncode == 0, f"{step}\n{run.stdout}\n{run.stderr}"
            done.append(run.stdout)
    assert len(done) == 14
    assert any("a wheel of the plugin contains it" in text for text in done)
    made = [float(x) for x in (tmp_path / "days" / "00000.json").read_text()[1:-1].split(",")]
    celsius = [(x - 32) / 1.8 for x in made]
    assert len(made) == 24
    assert -30 < min(celsius) < max(celsius) < 50
