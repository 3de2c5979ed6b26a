"""What a plugin's distribution is checked for: what installing it brings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import Distribution, distribution
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, final
from urllib.parse import unquote, urlparse

from unnoise.discovery.registry import find, resolve
from unnoise.errors import PluginError
from unnoise.samplers import Sampler
from unnoise.specs import PluginInfo, SamplerSpec
from unnoise.testing.examples import Example
from unnoise.testing.report import CheckFailed, Skip, require

_SECONDS: Final = 180
_STILL: Final = 0.6
"""Part of a scaffold's README from which on a README is still that."""
_SHORT: Final = 12  # characters of lines that any README may have
_LOOK: Final = """
import importlib, json, sys
import unnoise.discovery.builtin, unnoise.discovery.loader, unnoise.discovery.registry
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


@final
@dataclass(frozen=True, eq=False)
class PluginCase:
    """A plugin that was found."""

    info: PluginInfo

    @cached_property
    def distribution(self) -> Distribution:
        return distribution(self.info.distribution)

    @property
    def module(self) -> str:
        """The light module of the entry point."""
        for point in self.distribution.entry_points:
            if point.group == "unnoise" and point.name == self.info.name:
                return point.module
        raise Skip("it has no entry point: the core's own part")

    @property
    def package(self) -> Path:
        """The folder of its package."""
        spec = find_spec(self.module.partition(".")[0])
        if spec is None or not spec.submodule_search_locations:
            raise CheckFailed(f"{self.module} is in no package")
        return Path(next(iter(spec.submodule_search_locations)))

    @cached_property
    def files(self) -> tuple[str, ...]:
        """What a wheel of it contains. Of an editable install, a wheel is built without network."""
        source = self._source()
        if source is None:
            return tuple(str(path) for path in self.distribution.files or ())
        with tempfile.TemporaryDirectory() as folder:
            words = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
            words += ["-w", folder, str(source)]
            run = subprocess.run(
                [sys.executable, "-m", *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
            )
            if run.returncode:
                missing = "No module named" in run.stderr or "BackendUnavailable" in run.stderr
                said = " ".join(run.stderr.split())[-300:]
                if missing:
                    raise Skip(f"a wheel cannot be built here: {said}")
                raise CheckFailed(f"building a wheel fails: {said}")
            wheel = next(Path(folder).glob("*.whl"))
            return tuple(zipfile.ZipFile(wheel).namelist())

    def _source(self) -> Path | None:
        """The folder of an editable install."""
        text = self.distribution.read_text("direct_url.json")
        said = json.loads(text) if text else {}
        if not said.get("dir_info", {}).get("editable"):
            return None
        return Path(unquote(urlparse(said["url"]).path))


def it_loads(case: PluginCase) -> str:
    """Its state is "ok", and it says nothing while loading."""
    info = case.info
    require(info.state == "ok", f"it is {info.state}: {info.reason}; {info.fix}")
    require(not info.reason, info.reason)
    provided = [f"{kind}: {', '.join(names)}" for kind, names in info.provides.items()]
    return "; ".join(provided)


def targets_resolve(case: PluginCase) -> str:
    """All that it provides can be imported, and has a line for listings."""
    count = 0
    for kind, names in case.info.provides.items():
        for name in names:
            spec = find(kind, name)
            require(bool(spec.summary.strip()), f"{name!r} ({kind}) has no summary")
            try:
                resolve(spec)
            except PluginError as error:
                raise CheckFailed(str(error)) from error
            count += 1
    return f"{count} targets"


def listings_tell_the_truth(case: PluginCase) -> str:
    """What a SamplerSpec says for listings is what the sampler itself declares."""
    names = case.info.provides.get("samplers", ())
    if not names:
        raise Skip("it provides no samplers")
    for name in names:
        spec, kind = find("samplers", name), resolve(find("samplers", name))
        assert isinstance(spec, SamplerSpec)
        require(isinstance(kind, type) and issubclass(kind, Sampler), f"{name!r} is no Sampler")
        sampler = _made(spec, kind)
        said = (spec.requires.split(",")[0], spec.evaluations, spec.order, spec.stochastic)
        own = (
            sampler.requires.__name__,
            sampler.evaluations,
            sampler.order,
            sampler.stochastic,
        )
        require(said == own, f"{name!r}: the listing says {said}, the sampler {own}")
    return f"{len(names)} samplers"


def _made(spec: SamplerSpec, kind: Any) -> Sampler:
    """Without arguments, or where it needs some the first of its examples."""
    try:
        made: Sampler = kind()
        return made
    except TypeError:
        if not spec.example:
            raise
    found: Any = resolve(replace(spec, target=spec.example))
    first = found()[0]
    made = first.subject if isinstance(first, Example) else first
    return made


def light_module(case: PluginCase) -> str:
    """Importing the entry point's module imports the standard library, unnoise and itself."""
    module = case.module
    run = subprocess.run(
        [sys.executable, "-c", _LOOK, module],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    require(run.returncode == 0, " ".join(run.stderr.split())[-300:])
    found = json.loads(run.stdout.splitlines()[-1])
    allowed = {*sys.stdlib_module_names, "unnoise", module.partition(".")[0]}
    heavy = [name for name in found if name not in allowed]
    require(not heavy, f"{module} imports {', '.join(heavy)}")
    return module


def readme_is_there(case: PluginCase) -> str:
    """The distribution's description, which is its README, says something, and of the plugin: it is
    not still that of `unnoise new`, unless all the rest is as it was made, too, or it is installed
    so that edits count."""
    text = str(case.distribution.metadata.json.get("description", "")).strip()
    require(len(text) >= 100, f"the README has {len(text)} characters, allowed: >= 100")
    for kind, template in _templates():
        part = _of_template(text, template)
        if part > _STILL and not _as_made(case, template.parent):
            said = f"{part:.0%} of the README is that of `unnoise new --kind {kind}`"
            if _in_the_making(case):
                raise Skip(f"{said}: write your own before you publish")
            raise CheckFailed(said)
    return f"{len(text.split())} words"


def _in_the_making(case: PluginCase) -> bool:
    """Whether it is installed so that edits count (PEP 610)."""
    origin = json.loads(case.distribution.read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


def _templates() -> list[tuple[str, Path]]:
    folder = Path(str(files("unnoise"))) / "scaffold" / "templates"
    found = sorted(folder.glob("*/template/README.md.jinja"))
    return [(path.parent.parent.name, path) for path in found]


def _pattern(text: str) -> re.Pattern[str]:
    """What a text of a template may have become."""
    pieces = re.split(r"\{\{.*?\}\}|\{%.*?%\}", text.strip())
    return re.compile(".*?".join(map(re.escape, pieces)), re.DOTALL)


def _of_template(text: str, template: Path) -> float:
    """The part of the lines of a template's README that are in the text."""
    lines = [line for line in template.read_text().splitlines() if len(line.strip()) > _SHORT]
    return sum(_pattern(line).search(text) is not None for line in lines) / max(1, len(lines))


def _as_made(case: PluginCase, template: Path) -> bool:
    """Whether the code of the plugin is that of the template."""
    (package,) = [path for path in template.iterdir() if path.is_dir() and "unnoise_" in path.name]
    own = case.package
    for path in package.glob("*.py.jinja"):
        made = own / path.name.removesuffix(".jinja")
        if not made.is_file() or not _pattern(path.read_text()).fullmatch(made.read_text().strip()):
            return False
    return True


def types_are_shipped(case: PluginCase) -> str:
    """`py.typed` lies in the package: type checkers read its annotations."""
    require((case.package / "py.typed").is_file(), f"{case.package.name} has no py.typed")
    return "py.typed"


def says_its_api_version(case: PluginCase) -> str:
    """Every spec says the version of the interface that it was written for."""
    if case.info.distribution == "unnoise":
        raise Skip("it is the core")
    specs = [find(kind, name) for kind, names in case.info.provides.items() for name in names]
    silent = sorted(spec.name for spec in specs if spec.api_version is None)
    require(not silent, f"no api_version in the specs of {', '.join(silent)}")
    return f"{len(specs)} specs"


def names_agree(case: PluginCase) -> str:
    """A domain is called what its spec says."""
    names = case.info.provides.get("domains", ())
    if not names:
        raise Skip("it provides no domains")
    for name in names:
        own = getattr(resolve(find("domains", name)), "name", None)
        require(own == name, f"the spec says {name!r}, the domain {own!r}")
    return ", ".join(names)


def requires_a_range_of_the_core(case: PluginCase) -> str:
    """It depends on unnoise from a version on, and below one: `unnoise>=X,<Y`."""
    if case.info.distribution == "unnoise":
        raise Skip("it is the core")
    for line in case.distribution.requires or ():
        found = re.match(r"unnoise\s*(?:\[[^]]*\])?\s*\(?([^;)]*)", line)
        if found and re.split(r"[^A-Za-z0-9._-]", line)[0] == "unnoise":
            limits = found.group(1).strip()
            require(">=" in limits or "~=" in limits or "==" in limits, f"no lower limit: {line}")
            require("<" in limits or "~=" in limits or "==" in limits, f"no upper limit: {line}")
            return line
    raise CheckFailed("it does not depend on unnoise")


def wheel_contains_its_bundles(case: PluginCase) -> str:
    """The models that a domain ships are in the wheel: config.json and model.safetensors."""
    found = []
    for name in case.info.provides.get("domains", ()):
        domain = resolve(find("domains", name))
        own, variants = getattr(domain, "bundle", None), getattr(domain, "variants", {})
        for bundle in ([] if own is None else [own]) + list(variants.values()):
            for file in ("config.json", "model.safetensors"):
                end = f"{Path(bundle).name}/{file}"
                there = any(path.replace(os.sep, "/").endswith(end) for path in case.files)
                require(there, f"the wheel lacks {end} of {name!r}")
            found.append(name)
    if not found:
        raise Skip("it ships no model")
    return ", ".join(dict.fromkeys(found))


CHECKS: Final[tuple[Callable[[PluginCase], str | None], ...]] = (
    it_loads,
    targets_resolve,
    listings_tell_the_truth,
    light_module,
    readme_is_there,
    types_are_shipped,
    says_its_api_version,
    names_agree,
    requires_a_range_of_the_core,
    wheel_contains_its_bundles,
)
