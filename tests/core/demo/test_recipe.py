"""The lines on the page say what was done, to a shell and to Python."""

from __future__ import annotations

import shlex

from pydantic import BaseModel

from unnoise.demo.recipe import command_line, python_lines


class Wish(BaseModel):
    plain: bool = False
    usual: bool = True


def test_a_command_line_quotes_what_a_shell_would_read():
    given = {"num_samples": 2, "plain": True, "usual": False, "smile": "C(=O)$x", "shift": [1, -2]}
    line = command_line("ring", given, Wish, out="my folder")
    assert shlex.split(line) == [
        "unnoise",
        "generate",
        "ring",
        *("--num-samples", "2", "--plain", "--no-usual"),
        *("--smile", "C(=O)$x", "--shift=1", "--shift=-2", "--out", "my folder"),
    ]
    assert "'C(=O)$x'" in line
    assert "--plain" not in command_line("ring", {"plain": False}, Wish, out="x")


def test_python_lines_are_python():
    given = {"word": 'a "b" \\ \u00fc', "shift": (1, -2.5), "plain": True}
    found: dict[str, object] = {}
    source = python_lines("ring", given, out="x").replace("unnoise.generate", "dict")
    source = source.replace("import unnoise\n", "").replace('"ring", ', "").replace('"ring",', "")
    exec(source.replace("out.save", "print"), found)
    assert found["out"] == {**given, "shift": [1, -2.5]}
