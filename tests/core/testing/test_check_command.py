"""`unnoise plugins check` on plugins that are installed, healthy and not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

DOMAINS = Path(__file__).parent / "planted_domains.py"
PLUGIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec("points", summary="pairs", target="unnoise_points.domain:{kind}",
                       api_version=2)]
"""
METADATA = """Metadata-Version: 2.1
Name: unnoise-points
Version: 1.0
{requires}

{readme}
"""
SHIPPED = """
from pathlib import Path
from unnoise_points.planted import *
from unnoise_points.planted import Points as _Points

class Points(_Points):
    bundle = Path(__file__).parent / "bundle"

class Careless(Points):
    def plan(self, inputs, model, draws):
        import socket
        Path("left.txt").write_text("left in the working directory")
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=0.1)
        except OSError:
            pass
        return (yield from super().plan(inputs, model, draws))
"""


@pytest.fixture
def installed(install, site, python):
    """installed(kind, ...): a distribution with the domain of planted_domains.py and a bundle."""

    def put(
        kind: str, light: str = "", requires: str = "", readme: str = "", typed: bool = False
    ) -> None:
        install("points", light + PLUGIN.format(kind=kind), domain=SHIPPED)
        package = site / "unnoise_points"
        shutil.copy(DOMAINS, package / "planted.py")
        if typed:
            (package / "py.typed").touch()
        info = next(site.glob("*.dist-info"))
        (info / "METADATA").write_text(METADATA.format(requires=requires, readme=readme))
        save = (
            "from unnoise.model import Model; from unnoise_points.domain import *; d = Points();"
            "c = Configuration(); Model(d, d.build(c), c).save(d.bundle)"
        )
        assert python("-c", save).returncode == 0
        files = [path for path in site.rglob("*") if path.is_file()]
        (info / "RECORD").write_text("".join(f"{p.relative_to(site)},,\n" for p in files))

    return put


@pytest.mark.slow
def test_the_core_conforms(command):
    run = command("plugins", "check", "core", "--json")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr
    results = json.loads(run.stdout)
    assert sum(r["status"] == "passed" for r in results) > 500
    declared = {r["check"] for r in results if r["status"] == "expected"}
    assert declared == {"mixture_rule", "recovers_the_data"}


def test_a_healthy_plugin(installed, command):
    installed(
        "Points",
        requires="Requires-Dist: unnoise<0.2,>=0.1",
        readme="Pairs of numbers. " * 9,
        typed=True,
    )
    run = command("plugins", "check", "points")
    assert run.returncode == 0, run.stdout + run.stderr
    for name in ("light_module", "no_network", "save_and_load", "wheel_contains_its_bundles"):
        assert f"passed   {name}" in run.stdout
    assert "skipped  listings_tell_the_truth" in run.stdout
    assert "it provides no samplers" in run.stdout
    assert run.stdout.rstrip().splitlines()[-1].startswith("points: 46 checks: ")
    assert " 0 failed" in run.stdout


def test_what_a_careless_plugin_does(installed, command, site):
    installed("Careless", light="import numpy\n", requires="Requires-Dist: unnoise")
    bundle = site / "unnoise_points" / "bundle" / "model.safetensors"
    record = next(site.glob("*.dist-info")) / "RECORD"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(line for line in lines if bundle.name not in line))
    run = command("plugins", "check", "points", "--json")
    assert run.returncode == 1, run.stdout + run.stderr
    failed = {r["check"]: r["detail"] for r in json.loads(run.stdout) if r["status"] == "failed"}
    assert failed.keys() == {
        "light_module",
        "readme_is_there",
        "types_are_shipped",
        "requires_a_range_of_the_core",
        "wheel_contains_its_bundles",
        "no_network",
        "nothing_outside_the_folder",
    }
    assert "imports numpy" in failed["light_module"]
    assert "192.0.2.1" in failed["no_network"]
    assert "left.txt" in failed["nothing_outside_the_folder"]


def test_a_broken_plugin(install, command):
    install("points", "raise RuntimeError('no')")
    run = command("plugins", "check", "points")
    assert run.returncode == 1
    assert "it is broken: RuntimeError: no" in " ".join(run.stdout.split())


def test_a_plugin_that_is_not_there(command):
    run = command("plugins", "check", "weather")
    assert run.returncode == 2
    assert "no plugin of this name is installed" in run.stderr


SAMPLER = """
from unnoise.specs import SamplerSpec, hookimpl

@hookimpl
def unnoise_samplers():
    return [SamplerSpec("still", summary="does not move", target="unnoise_points.still:Still",
                        requires="TransitionKernel", evaluations=1, order=2, stochastic=False)]
"""
STILL = """
from unnoise.samplers import Sampler
from unnoise.kernels import TransitionKernel

class Still(Sampler):
    requires = TransitionKernel
    def __init__(self, length): ...
    @property
    def stochastic(self): return False
    def __call__(self, run, x, grid): yield
"""


def test_what_needs_an_example_says_so(install, command):
    install("points", SAMPLER, still=STILL)
    run = command("plugins", "check", "points")
    assert run.returncode == 1
    assert "give its spec an `example`" in " ".join(run.stdout.split())
