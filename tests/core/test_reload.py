"""A plugin that is edited while Python runs: generate and load always run the same code."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch

import unnoise
from unnoise.errors import PluginError
from unnoise.storage.bundle import write_bundle

PLUGIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec("points", {summary!r}, "unnoise_points.domain:Points")]
"""
DOMAIN = """
from pathlib import Path
from pydantic import BaseModel
from unnoise.domain import Task, Trainable
from unnoise.spaces import Layout
from unnoise_points import network

class Request(BaseModel):
    pass

class Configuration(BaseModel):
    pass

class Points(Trainable):
    name = "points"
    Request, Configuration = Request, Configuration
    bundle = Path(__file__).parent / "bundle"

    def build(self, configuration):
        return network.Network()

    def dataset(self, source, configuration, part):
        raise NotImplementedError

    def collate(self, items):
        raise NotImplementedError

    def plan(self, inputs, model, draws):
        yield Task(Layout.dense(len(draws), (2,)))
        return ["{said} by " + type(model.denoiser).said] * len(draws)

    def write(self, sample, folder, stem):
        path = folder / (stem + ".json")
        path.write_text(json.dumps(sample))
        return path
"""
NETWORK = """
import torch
from unnoise.denoise import Denoiser
from unnoise.distributions import Dirac
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.spaces import Euclidean

class Network(Denoiser):
    said = "{said}"

    def __init__(self):
        super().__init__()
        self.centre = torch.nn.Parameter(torch.zeros(2))
        self.kernel = GaussianKernel(Euclidean(), VPCosine())

    def forward(self, x, t, layout, condition=None):
        return Dirac(self.centre + 0 * x)
"""


@pytest.fixture
def edit(install, here, site):
    """edit(module, source): the file of the plugin as its author saves it."""

    def write(module: str, source: str) -> None:
        (site / "unnoise_points" / f"{module}.py").write_text(source)
        importlib.invalidate_caches()

    here.setenv("UNNOISE_PLUGINS", "points")  # others belong to other tests
    modules = {"domain": DOMAIN.replace("{said}", "one"), "network": NETWORK.format(said="a")}
    install("points", PLUGIN.format(summary="of old"), **modules)
    weights = {"denoiser.centre": torch.zeros(2)}
    write_bundle(site / "unnoise_points" / "bundle", "points", {}, weights, {"steps": 2})
    return write


def said() -> str:
    """What both ways say, which must be the same."""
    (generated,) = unnoise.generate("points").samples
    (loaded,) = unnoise.load("points").generate().samples
    assert generated == loaded
    return generated


def test_importlib_reload_is_seen_by_both(edit):
    assert said() == "one by a"
    edit("domain", DOMAIN.replace("{said}", "twofold"))
    importlib.reload(sys.modules["unnoise_points.domain"])
    assert said() == "twofold by a"
    edit("network", NETWORK.format(said="another"))
    importlib.reload(sys.modules["unnoise_points.network"])
    assert said() == "twofold by another"


def test_reload_takes_up_every_module_of_a_plugin(edit):
    assert said() == "one by a"
    edit("network", NETWORK.format(said="another"))
    edit("domain", DOMAIN.replace("{said}", "twofold"))
    assert said() == "one by a"  # nobody asked for it
    (info,) = unnoise.reload("points")
    assert (info.name, info.state) == ("points", "ok")
    assert said() == "twofold by another"


@pytest.mark.parametrize("name", ["points", "unnoise-points", None])
def test_reload_looks_again_for_what_is_installed(name, edit):
    assert unnoise.domains()["points"].summary == "of old"
    edit("__init__", PLUGIN.format(summary="of today"))
    unnoise.reload(name)
    assert unnoise.domains()["points"].summary == "of today"


def test_a_model_is_read_once_while_nothing_changes(edit, here):
    from unnoise import api

    said()
    here.setattr(api, "load", lambda _: pytest.fail("read again"))
    importlib.import_module("unnoise_points.network")
    unnoise.generate("points")


def test_an_edit_that_does_not_work_says_so_and_is_mended(edit):
    assert said() == "one by a"
    edit("network", "def broken(:")
    with pytest.raises(PluginError, match=r"unnoise_points\.\w+ cannot be imported: SyntaxError"):
        unnoise.reload("points")
    edit("network", NETWORK.format(said="mended"))
    unnoise.reload("points")
    assert said() == "one by mended"


def test_the_core_and_unknown_names_are_refused(edit):
    before = sys.modules["unnoise.spaces"]
    with pytest.raises(PluginError, match="restart Python"):
        unnoise.reload("unnoise")
    with pytest.raises(PluginError, match="did you mean 'points'"):
        unnoise.reload("point")
    unnoise.reload()
    assert sys.modules["unnoise.spaces"] is before
