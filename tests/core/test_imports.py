"""Imports run downwards only and never in a circle, the core knows no modality, and no module
grows too long."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import unnoise

PACKAGE = Path(unnoise.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Lowest first. A module may import from its own layer and from those below it; a subpackage is one
# layer, but for the modules that are named here.
LAYERS = (
    {"errors"},
    {"specs", "hookspecs", "compat", "fields", "storage"},
    {"discovery"},
    {"spaces"},
    {"noise"},
    {"distributions", "calibration"},
    {"kernels"},
    {"denoise", "codecs"},
    {"samplers"},
    {"conditioning"},
    {"objectives"},
    {"trajectory"},
    {"display", "windows", "engine.options"},
    {"domain"},
    {"engine"},
    {"model", "discovery.domains"},
    {"training"},
    {"api"},
    {"scaffold", "demo", "testing", "bulk"},
    {"serve"},
    {"cli"},
    {"__main__", ""},
)
MATHEMATICS = {"spaces", "noise", "distributions", "kernels", "denoise", "codecs", "samplers"}
MATHEMATICS |= {"conditioning", "objectives", "calibration"}
FLAT = 14
"""Modules that lie in the package itself."""
# "text" is missing: in Python it is a string before it is a modality.
MODALITIES = re.compile(
    r"(^|_)(images?|pixels?|pictures?|pil|rgb|sentences?|audio|sounds?|wav|spectrograms?"
    r"|molecules?|atoms?|smiles|rdkit|videos?|speech|mnist)(_|$)"
)


def name_of(path: Path) -> str:
    """The module in the file, below the package: "engine.run"; a subpackage by its own name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix("__init__").removesuffix(".")


NAMES = {name_of(path) for path in MODULES}


def imports(tree: ast.Module) -> Iterator[str]:
    """Modules of the core that a module imports, at whatever depth of its code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head != "unnoise":
                continue
            while rest not in NAMES:  # a name in a module
                rest = rest.rpartition(".")[0]
            yield rest


def level(name: str) -> int:
    """The number of a module's layer."""
    for known in (name, name.partition(".")[0]):
        for i, layer in enumerate(LAYERS):
            if known in layer:
                return i
    raise AssertionError(f"{name} has no layer")


def offences(mine: str, tree: ast.Module) -> list[str]:
    wrong = []
    for other in sorted(set(imports(tree))):
        upwards = level(other) > level(mine)
        own = mine.partition(".")[0], other.partition(".")[0]
        application = own[0] in MATHEMATICS and own[1] not in MATHEMATICS | {"errors"}
        if upwards or application:
            wrong.append(f"{mine} imports {other}")
    return wrong


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A way from a module back to itself, if there is one."""
    done: set[str] = set()

    def search(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := search(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := search(name, []))), [])


def test_there_is_no_circle():
    graph = {name_of(p): set(imports(ast.parse(p.read_text(encoding="utf-8")))) for p in MODULES}
    assert circle(graph) == []


def test_a_circle_is_seen():
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}
    assert circle(graph) == ["b", "d", "b"]
    assert circle({"a": {"a"}}) == ["a", "a"]


def test_the_package_is_not_flat():
    assert len(list(PACKAGE.glob("*.py"))) <= FLAT


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module(path):
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert offences(name_of(path), tree) == []
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


def test_no_test_and_no_plugin_grows_too_long():
    root = Path(__file__).parents[2]
    found = [p for name in ("tests", "plugins", "examples") for p in (root / name).rglob("*.py")]
    assert len(found) > 100
    lengths = {str(p.relative_to(root)): len(p.read_text().splitlines()) for p in found}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("kernels.base", "from unnoise.samplers import DDIM"),
        ("kernels.base", "def f():\n    import unnoise.domain"),
        ("spaces.layout", "if TYPE_CHECKING:\n    from unnoise.noise import NoiseSource"),
        ("noise", "from unnoise.discovery import registry"),
        ("denoise.guidance", "from unnoise.storage.files import write_file"),
        ("discovery.registry", "from unnoise.domain import Domain"),
        ("domain", "from unnoise.engine.output import Output"),
        ("engine.run", "from unnoise.model import Model"),
        ("training.train", "from unnoise.api import generate"),
        ("domain", "from unnoise.testing import oracle"),
        ("api", "from unnoise.cli import main"),
        ("engine.run", "from unnoise import __version__"),
    ],
)
def test_an_upward_import_is_seen(where, source):
    assert len(offences(where, ast.parse(source))) == 1
