"""The record names the distribution of every part: found from classes, wherever they are held."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from engine_toy import Configuration, Toy

import unnoise
from unnoise.denoise import Clean, NetworkDenoiser
from unnoise.discovery.parts import versions
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.model import Model
from unnoise.samplers import DDIM
from unnoise.spaces import Euclidean

HOOK = """
from unnoise.specs import KernelSpec, hookimpl

@hookimpl
def unnoise_kernels():
    return [KernelSpec({name!r}, "for a test", "unnoise_{name}.things:Thing")]
"""
THINGS = {
    "space": "from unnoise.spaces import Euclidean\nclass Thing(Euclidean): pass",
    "schedule": "from unnoise.kernels import VPCosine\nclass Thing(VPCosine): pass",
    "layer": "from torch import nn\nclass Thing(nn.Linear): pass",
    "sampler": "from unnoise.samplers import DDIM\nclass Thing(DDIM): pass",
    "held": "class Thing: pass",
    "heir": "from unnoise_held.things import Thing as Other\nclass Thing(Other): pass",
}


@pytest.fixture
def things(install, here) -> dict[str, type]:
    """One class from each of six distributions, the third of them in version 3.0."""
    found = {}
    for number, (name, source) in enumerate(THINGS.items(), 1):
        install(name, HOOK.format(name=name), version=f"{number}.0", things=source)
    for name in THINGS:
        found[name] = importlib.import_module(f"unnoise_{name}.things").Thing
    return found


def others(found: dict[str, str]) -> dict[str, str]:
    return {name: version for name, version in found.items() if name != "unnoise"}


def test_parts_of_the_core_are_the_core():
    assert versions(DDIM(), GaussianKernel(Euclidean(), VPCosine())) == {
        "unnoise": unnoise.__version__
    }
    assert versions() == versions(1, "words", None, {"a": [torch.zeros(2)]}) == {}


def test_a_class_that_is_inherited_from_took_part(things):
    assert versions(things["heir"]()) == {"unnoise-heir": "6.0", "unnoise-held": "5.0"}


def test_parts_are_found_in_containers_and_in_classes(things):
    assert versions({"a": [1, (things["held"](),)]}) == {"unnoise-held": "5.0"}
    things["held"].shared = things["space"]()
    assert others(versions(things["held"]())) == {"unnoise-held": "5.0", "unnoise-space": "1.0"}
    one = things["held"]()
    one.inner = {"deep": DDIM(), "deeper": things["schedule"]()}
    assert "unnoise-schedule" in versions(one)


def test_an_object_that_holds_itself(things):
    thing = things["held"]()
    thing.myself = [thing]
    assert versions(thing) == {"unnoise-held": "5.0"}


def test_a_library_that_is_no_plugin_is_named_and_one_without_metadata_is_not(here, site):
    import pluggy
    import yaml  # of the distribution PyYAML

    assert versions(pluggy.PluginManager("x"))["pluggy"] == version("pluggy")
    assert versions(yaml.nodes.Node(1, 2, 3, 4))["PyYAML"] == version("PyYAML")
    (site / "loose_module.py").write_text("class Thing: pass")
    assert versions(importlib.import_module("loose_module").Thing()) == {}


def test_a_record_names_every_plugin(things):
    toy = Toy()
    settings = Configuration()
    network = nn.Sequential(things["layer"](2, 2))
    kernel = GaussianKernel(things["space"](), things["schedule"]())

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x, label, layout, condition):
            return self.inner(x)

    model = Model(toy, NetworkDenoiser(Network(), kernel, Clean()), settings)
    made = model.generate(num_samples=3, steps=2, batch_size=2)
    own = {"unnoise-layer": "3.0", "unnoise-space": "1.0", "unnoise-schedule": "2.0"}
    found = made.provenance["versions"]
    assert {name: found[name] for name in own} == own
    assert {"python", "torch", "unnoise"} <= set(found)
    assert "unnoise-sampler" not in found
    found = model.generate(steps=2, sampler=things["sampler"]()).provenance["versions"]
    assert found["unnoise-sampler"] == "4.0"


def test_a_sampler_of_a_task_took_part(things):
    class Choosy(Toy):
        def plan(self, inputs, model, draws):
            plan = super().plan(inputs, model, draws)
            task = next(plan)
            while True:
                state = yield replace(task, sampler=things["sampler"]())
                try:
                    task = plan.send(state)
                except StopIteration as stop:
                    return stop.value

    settings = Configuration()
    found = Model(Choosy(), Toy().build(settings), settings).generate(steps=2)
    assert found.provenance["versions"]["unnoise-sampler"] == "4.0"
