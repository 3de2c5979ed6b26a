"""The language of messages: Python hears of arguments, the command line of flags; read from the
source of every error that the core and the plugins raise."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from unnoise import errors
from unnoise.cli import spoken

ROOT = Path(__file__).parents[3]
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
FLAG = re.compile(r"(?<![\w-])--[a-z]")
ARGUMENT = re.compile(r"(?<![\w.\"])[a-z][a-z_]*=(?!=)")
BRACKETS = re.compile(r"`[^`]*`|\w*\([^()]*\)|\"[^\"]*\"")
COMMAND = re.compile(r"(unnoise|python|pip) [a-z-]+.*")


def written(node: ast.expr) -> Iterator[str]:
    """Every text that an expression may put into a message, with X for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    elif isinstance(node, ast.BinOp):
        yield from written(node.left)
        yield from written(node.right)
    elif isinstance(node, ast.IfExp):
        yield from written(node.body)
        yield from written(node.orelse)


def messages() -> list[tuple[str, str]]:
    """(where, text) of every error; the command line's own are in its language already."""
    found = []
    packages = [ROOT / "core" / "unnoise", *(ROOT / "plugins").glob("*/unnoise_*")]
    for path in (p for package in packages for p in package.rglob("*.py")):
        if {"cli", "testing", "scaffold"} & set(path.relative_to(ROOT).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in KINDS:
                said = [*node.args, *(k.value for k in node.keywords)]
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                found += [(where, text) for one in said for text in written(one)]
    return found


MESSAGES = messages()


def test_there_are_messages():
    assert len(MESSAGES) > 500


def test_python_is_not_told_of_flags():
    told = [m for m in MESSAGES if FLAG.search(COMMAND.sub("", m[1]))]
    assert not told


def test_the_command_line_is_not_told_of_arguments():
    told = []
    for where, text in MESSAGES:
        rest = BRACKETS.sub("", spoken(text))
        if ARGUMENT.search(rest):
            told.append((where, spoken(text)))
    assert not told


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("pass block=32 to write it", "pass --block 32 to write it"),
        ("outside='fold' writes them", "--outside fold writes them"),
        ("or pass a larger length=", "or pass a larger --length"),
        ("edm(churn=20) is one", "edm(churn=20) is one"),
        (
            "the model's own; pass mel=x, if it is the model's",
            "the model's own; pass --mel x, if it is the model's",
        ),
        ("got 'a=1'; it's called 'b=2'", "got 'a=1'; it's called 'b=2'"),
    ],
)
def test_what_is_spoken(python, shell):
    assert spoken(python) == shell
