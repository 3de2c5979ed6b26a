"""Nonsense from a plugin is an error that says whose it is, never one from deep inside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from engine_toy import Configuration, Toy

import unnoise
from unnoise.discovery import domains as checked
from unnoise.domain import Partial, Task
from unnoise.errors import ConfigError, PluginError, UnnoiseError
from unnoise.model import Model
from unnoise.spaces import Layout


def generated(kind: type[Toy], **request):
    """What the plan of a domain comes to."""
    domain, configuration = kind(), Configuration()
    model = Model(domain, domain.build(configuration).eval(), configuration)
    return model.generate(num_samples=2, **request)


def task(draws, **more):
    return Task(Layout.dense(len(draws), (2,)), {"centre": torch.zeros(len(draws))}, **more)


class AList(Toy):
    def plan(self, inputs, model, draws):
        return [1.0, 2.0]


class ATensor(Toy):
    def plan(self, inputs, model, draws):
        yield torch.zeros(len(draws), 2)
        return [0.0] * len(draws)


class ALayout(Toy):
    def plan(self, inputs, model, draws):
        state = yield task(draws).layout
        return state.tolist()


class Forgetful(Toy):
    def plan(self, inputs, model, draws):
        yield task(draws)


class OneForAll(Toy):
    def plan(self, inputs, model, draws):
        yield task(draws)
        return [0.0]


class ADict(Toy):
    def plan(self, inputs, model, draws):
        state = yield task(draws)
        return dict(enumerate(state))


class NoSamples(Toy):
    def plan(self, inputs, model, draws):
        yield task(draws)
        return [None] * len(draws)


class Elsewhere(Toy):
    def plan(self, inputs, model, draws):
        yield Partial([1.0], rows=[9])
        return [None] * len(draws)


class NoLayout(Toy):
    def plan(self, inputs, model, draws):
        yield Task((len(draws), 2))
        return [0.0] * len(draws)


class NoInputs(Toy):
    def prepare(self, request, model, options):
        return None


class AWord(Toy):
    def prepare(self, request, model, options):
        return "one"


class TextCondition(Toy):
    def plan(self, inputs, model, draws):
        yield Task(Layout.dense(len(draws), (2,)), {"centre": ["a"] * len(draws)})
        return [0.0] * len(draws)


class OtherRows(Toy):
    def plan(self, inputs, model, draws):
        yield Task(Layout.dense(len(draws), (2,)), {"centre": torch.zeros(7)})
        return [0.0] * len(draws)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (AList, "the plan of domain 'toy' is no generator"),
        (ATensor, "yields something else than a Task or a Partial"),
        (ALayout, "yields something else than a Task or a Partial"),
        (Forgetful, "returned no list of samples.*return samples"),
        (OneForAll, "returned another number of samples; got 1; allowed: 2"),
        (ADict, "returned no list of samples; got 'dict'"),
        (NoSamples, "returned None for samples"),
        (Elsewhere, "hands out samples for other places"),
        (NoLayout, "the layout of a task is no Layout"),
        (NoInputs, "prepare of the domain 'toy' returned no list of inputs"),
        (AWord, "prepare of the domain 'toy' returned no list of inputs"),
        (TextCondition, "condition 'centre' is no tensor"),
        (OtherRows, "condition 'centre' has other rows"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_plan_that_makes_no_sense(kind, said):
    with pytest.raises(UnnoiseError, match=said):
        generated(kind)


def test_write_that_says_no_file(tmp_path):
    class Silent(Toy):
        def write(self, sample, folder, stem):
            (folder / stem).write_text("")

    with pytest.raises(ConfigError, match="domain 'toy' does not say which file it wrote"):
        generated(Silent).save(tmp_path)


class BuildsAModule(Toy):
    def build(self, configuration):
        return nn.Linear(2, 2)


class NoCodec(Toy):
    def codec(self, configuration):
        return nn.Identity()


class NoObjective(Toy):
    def objective(self, configuration):
        return torch.nn.functional.mse_loss


class ConfiguresADict(Toy):
    def configure(self, source, options):
        return {"kind": "points"}


class OddDefaults(Toy):
    def defaults(self, configuration):
        return {"step": 10}


class ListedDefaults(Toy):
    def defaults(self, configuration):
        return [("steps", 10)]


@pytest.mark.parametrize(
    ("kind", "call", "said"),
    [
        (BuildsAModule, checked.built, "build of the domain 'toy' must return a Denoiser.*Linear"),
        (NoCodec, checked.codec_of, "codec of the domain 'toy' must return a Codec"),
        (NoObjective, checked.objective_of, "objective of the domain 'toy' must return an? Obj"),
        (OddDefaults, checked.defaults_of, "unknown name; got 'step'.*did you mean 'steps'"),
        (ListedDefaults, checked.defaults_of, "defaults of the domain 'toy' must return a Mapping"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_methods_that_return_something_else(kind, call, said):
    with pytest.raises(PluginError, match=said):
        call(kind(), Configuration())


def test_a_configuration_that_is_none():
    with pytest.raises(PluginError, match="configure of the domain 'toy' must return a Config"):
        checked.configuration_of(ConfiguresADict(), "data", {})


@pytest.mark.parametrize(
    ("made", "found"),
    [(lambda items: torch.zeros(len(items), 2), "Tensor"), (lambda items: None, "NoneType")],
)
def test_collate_that_returns_no_batch(made, found):
    class Collates(Toy):
        def collate(self, items):
            return made(items)

    domain, configuration = Collates(), Configuration()
    model = Model(domain, domain.build(configuration), configuration)
    for call in (lambda: checked.collated(domain, [1, 2]), lambda: model.bound([1, 2])):
        with pytest.raises(PluginError, match=rf"collate of the domain 'toy'.*{found}"):
            call()


PLUGIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec("odd", summary="odd", target="unnoise_odd.domain:Odd", api_version=2)]
"""
BODY = """
from pydantic import BaseModel
from unnoise.domain import Domain

class Asked(BaseModel):
    number: int = 0

class Odd(Domain):
    name = "odd"
    Request = Asked
    def plan(self, inputs, model, draws): yield
    def write(self, sample, folder, stem): return folder

"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("    Request = dict", "Request of the domain 'odd' is no subclass of pydantic.BaseModel"),
        ("    Request = Asked()", "Request of the domain 'odd' is no subclass"),
        ("    name = 'even'", "calls this domain 'odd', and the domain calls itself 'even'"),
        ("    display = print", "display of the domain 'odd' is no Display"),
        ("    demo = [('number', 1)]", "demo of the domain 'odd' is no mapping"),
        ("del Odd.plan\nOdd.__abstractmethods__ = frozenset({'plan'})", "cannot be made"),
        ("Odd = dict", "domain 'odd' is not an unnoise Domain"),
    ],
)
def test_a_domain_that_is_none(install, here, line, said):
    install("odd", PLUGIN, domain=BODY + line + "\n")
    with pytest.raises(PluginError, match=said):
        unnoise.generate("odd")


def test_a_domain_that_is_one(install, here):
    install("odd", PLUGIN, domain=BODY)
    assert checked.domain_named("odd").name == "odd"
