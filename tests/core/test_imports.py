"""Imports run downwards only, the core knows no modality, and no module grows too long."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import unnoise

PACKAGE = Path(unnoise.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Lowest first. A module may import from its own layer and from those below it. What is not named
# here (errors and the light modules of the plugins) may be imported by everybody.
LAYERS = (
    {"spaces", "distributions", "noise"},
    {"kernels"},
    {"denoise"},
    {"samplers", "objectives"},
    {
        "domain",
        "bundle",
        "trainer",
        "training",
        "distill",
        "variance",
        "engine",
        "evaluation",
        "output",
        "requests",
    },
    {"api", "demo", "scaffold"},
    {"cli", "__main__"},
)
MATHEMATICS = set().union(*LAYERS[:4])
ANYBODY = {"errors"}
LIGHT = {
    "",
    "errors",
    "files",
    "hangs",
    "hookspecs",
    "loader",
    "registry",
    "settings",
    "specs",
    "builtin",
}
LIGHT |= {"torchaudio"}
OUTSIDE = {"testing"}  # the conformance kit: it may use everything, and the command line runs it
PARTS = set().union(*LAYERS) | LIGHT | OUTSIDE
# "text" is missing: in Python it is a string before it is a modality.
MODALITIES = re.compile(
    r"(^|_)(images?|pixels?|pictures?|pil|rgb|sentences?|audio|sounds?|wav|spectrograms?"
    r"|molecules?|atoms?|smiles|rdkit|videos?|speech|mnist)(_|$)"
)


def part(path: Path) -> str:
    """The subpackage or module of the core that the file belongs to; '' is the package itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").removeprefix("__init__")


def imports(path: Path, tree: ast.Module) -> set[str]:
    """Parts of the core that the module imports, at whatever depth of its code."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "unnoise" and rest:
                found.add(rest.partition(".")[0])
    return found & PARTS


def level(name: str) -> int:
    return next((i for i, layer in enumerate(LAYERS) if name in layer), -1)


def offences(path: Path, tree: ast.Module) -> list[str]:
    mine = part(path)
    if mine in OUTSIDE:
        return []
    wrong = []
    for other in sorted(imports(path, tree) - {mine}):
        upwards = level(other) > level(mine) and mine not in LIGHT
        light = mine in LIGHT and level(other) >= 0
        application = mine in MATHEMATICS and other not in MATHEMATICS | ANYBODY
        kit = other in OUTSIDE and mine != "cli"
        if upwards or light or application or kit:
            wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module(path):
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    # `__init__` of the package names the public API for type checkers only.
    if path != PACKAGE / "__init__.py":
        assert offences(path, tree) == []
    assert len(source.splitlines()) <= 400
    names = {
        name
        for node in ast.walk(tree)
        for name in (
            getattr(node, "id", None),
            getattr(node, "attr", None),
            getattr(node, "arg", None),
            getattr(node, "name", None),
        )
        if isinstance(name, str)
    }
    # also the words of CamelCase names
    words = {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() for name in names}
    assert sorted(word for word in words if MODALITIES.search(word)) == []


def test_every_part_has_a_layer():
    assert {part(path) for path in MODULES} <= PARTS


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("kernels/base.py", "from unnoise.samplers import DDIM"),
        ("kernels/base.py", "def f():\n    import unnoise.domain"),
        ("noise.py", "from unnoise import registry"),
        ("denoise/guidance.py", "from unnoise.files import write_file"),
        ("registry.py", "from unnoise.domain import Domain"),
        ("trainer.py", "from unnoise.api import generate"),
        ("domain.py", "from unnoise.testing import oracle"),
        ("api.py", "from unnoise.cli import main"),
    ],
)
def test_an_upward_import_is_seen(where, source):
    assert len(offences(PACKAGE / where, ast.parse(source))) == 1
