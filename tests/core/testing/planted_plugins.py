"""Installed plugins, each with one mistake planted: distributions in a folder of their own."""

from __future__ import annotations

import atexit
import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import unnoise.scaffold
from unnoise.discovery import registry
from unnoise.testing.checks_plugin import CHECKS, PluginCase
from unnoise.testing.report import Result, bind, outcome

TEMPLATE = Path(unnoise.scaffold.__file__).parent / "templates" / "sampler" / "template"
LIGHT = """
from unnoise.specs import SamplerSpec, ScheduleSpec, hookimpl

@hookimpl
def unnoise_samplers():
    return [SamplerSpec("{name}-euler", summary="Euler's method again",
                        target="{package}.parts:Again", requires="GaussianKernel",
                        evaluations=1, order=1, stochastic=False, api_version=2)]
"""
PARTS = """
from unnoise.kernels import GaussianKernel
from unnoise.samplers import Sampler

class Again(Sampler):
    requires = GaussianKernel

    @property
    def stochastic(self):
        return False

    def __call__(self, run, x, grid):
        yield
"""
DOMAIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec("{name}", summary="pairs", target="{package}.parts:Pairs", api_version=2)]
"""
PAIRS = """
from pathlib import Path
from unnoise.domain import Trainable

class Pairs(Trainable):
    name = "{called}"
    bundle = Path(__file__).parent / "bundle"
"""
README = "# Again\n\nEuler's method a second time, to see what the conformance kit says of it. " * 3
RANGE = "Requires-Dist: unnoise<0.2,>=0.1"


@dataclass(frozen=True)
class Planted:
    """What a wheel of a plugin would leave behind."""

    name: str
    light: str = LIGHT
    parts: str = PARTS
    readme: str = README
    requires: str = RANGE
    typed: bool = True
    more: dict[str, str] = field(default_factory=dict)

    def checked(self, meant: str) -> Result:
        """What a check says of it, installed."""
        folder = _site()
        package = f"unnoise_{self.name}"
        info = folder / f"{package}-1.0.dist-info"
        words = {"name": self.name, "package": package, "called": "another"}
        made = {
            f"{package}/__init__.py": "",
            f"{package}/plugin.py": _filled(self.light, words),
            f"{package}/parts.py": _filled(self.parts, words),
            **{f"{package}/{name}": text for name, text in self.more.items()},
            f"{info.name}/METADATA": f"Metadata-Version: 2.1\nName: unnoise-{self.name}\n"
            f"Version: 1.0\n{self.requires}\n\n{_filled(self.readme, words)}",
            f"{info.name}/entry_points.txt": f"[unnoise]\n{self.name} = {package}.plugin\n",
        }
        if self.typed:
            made[f"{package}/py.typed"] = ""
        made[f"{info.name}/RECORD"] = "".join(f"{path},,\n" for path in made)
        for path, text in made.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        importlib.invalidate_caches()
        registry.reload()
        try:
            (found,) = registry.named(self.name)
            (check,) = [c for c in bind(CHECKS, PluginCase(found), self.name) if c.name == meant]
            return outcome(check)
        finally:
            shutil.rmtree(folder / package)
            shutil.rmtree(info)
            registry.reload()


def _filled(text: str, words: dict[str, str]) -> str:
    for name, word in words.items():
        text = text.replace("{" + name + "}", word)
    return text


def _site(made: list[Path] = []) -> Path:  # noqa: B006 one folder for all
    if not made:
        made.append(Path(tempfile.mkdtemp(prefix="unnoise-planted-")))
        sys.path.append(str(made[0]))
        atexit.register(shutil.rmtree, made[0], ignore_errors=True)
    return made[0]


def scaffold(name: str, change: Callable[[str], str] = lambda text: text) -> Planted:
    """The sampler's scaffold, as `unnoise new` makes it, its code changed."""

    def rendered(path: Path) -> str:
        text = path.read_text()
        for word, value in (("name", name), ("module", name), ("class_name", "Own"), ("api", "2")):
            text = text.replace("{{ " + word + " }}", value)
        return text

    (package,) = [p for p in TEMPLATE.iterdir() if p.is_dir() and "unnoise_" in p.name]
    code = {p.name.removesuffix(".jinja"): rendered(p) for p in package.glob("*.py.jinja")}
    changed = {path: change(text) for path, text in code.items()}
    return Planted(name, readme=rendered(TEMPLATE / "README.md.jinja"), more=changed)


def without(text: str) -> str:
    return LIGHT.replace(text, "")


PLUGINS = [
    ("it does not load", "it_loads", Planted("one", light="raise RuntimeError('no')")),
    ("a target that is not there", "targets_resolve",
     Planted("two", light=LIGHT.replace("parts:Again", "parts:Agian"))),
    ("no summary", "targets_resolve",
     Planted("three", light=LIGHT.replace('"Euler\'s method again"', '""'))),
    ("a listing of another order", "listings_tell_the_truth",
     Planted("four", light=LIGHT.replace("order=1", "order=2"))),
    ("torch in the light module", "light_module", Planted("five", light="import torch\n" + LIGHT)),
    ("no README", "readme_is_there", Planted("six", readme="")),
    ("the scaffold's README, other code", "readme_is_there",
     scaffold("seven", lambda text: text + "\nOWN = 1\n")),
    ("the scaffold's README, another title", "readme_is_there",
     Planted("eight", readme="# My own\n" + (TEMPLATE / "README.md.jinja").read_text())),
    ("no py.typed", "types_are_shipped", Planted("nine", typed=False)),
    ("no api_version", "says_its_api_version", Planted("ten", light=without(", api_version=2"))),
    ("no range of the core", "requires_a_range_of_the_core",
     Planted("eleven", requires="Requires-Dist: unnoise")),
    ("no upper limit of the core", "requires_a_range_of_the_core",
     Planted("twelve", requires="Requires-Dist: unnoise>=0.1")),
    ("the core not required", "requires_a_range_of_the_core", Planted("thirteen", requires="")),
    ("the bundle not in the wheel", "wheel_contains_its_bundles",
     Planted("fourteen", light=DOMAIN, parts=PAIRS)),
    ("a spec of another name", "names_agree", Planted("fifteen", light=DOMAIN, parts=PAIRS)),
]  # fmt: skip
