"""A library prints nothing: a plugin raises, reports to a callback, or logs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.mark.parametrize("path", sorted(PLUGINS.glob("*/unnoise_*/*.py")), ids=lambda p: p.stem)
def test_no_module_prints(path):
    """Except in `main`, where a module is a program."""
    tree = ast.parse(path.read_text())
    programs = {
        id(node)
        for scope in ast.walk(tree)
        if isinstance(scope, ast.FunctionDef) and scope.name == "main"
        for node in ast.walk(scope)
    }
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and id(n) not in programs]
    printing = ("print", "tqdm.write", "sys.stdout.write", "sys.stderr.write")
    found = [f"line {n.lineno}" for n in calls if ast.unparse(n.func) in printing]
    assert not found
