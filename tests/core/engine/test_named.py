"""Samplers by name, with arguments: what is read, what is refused, and what a record says."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from engine_toy import Configuration, Toy

from unnoise.discovery import registry
from unnoise.engine.named import made, named_grid, named_sampler, names_for, read, spelled
from unnoise.errors import ConfigError, IncompatibleSampler, InputError, PluginError
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.model import Model
from unnoise.samplers import (
    DDIM,
    DEIS,
    EDM,
    Confidence,
    DPMSolverPP,
    Order,
    OrderAgnostic,
    Restart,
    Sampler,
    SASolver,
    Solver,
    Warmup,
    grids,
)
from unnoise.spaces import Euclidean

PLUGIN = """
from unnoise.specs import SamplerSpec, hookimpl

@hookimpl
def unnoise_samplers():
    return [
        SamplerSpec("sea-ice", "mine", "unnoise_ice.sampler:Ice"),
        SamplerSpec("other", "mine", "unnoise_ice.sampler:DDIM"),
        SamplerSpec("no", "none", "unnoise_ice.sampler:Nothing"),
    ]
"""
SAMPLER = """
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from unnoise.kernels import GaussianKernel
from unnoise.samplers import DDIM, Sampler
from unnoise.errors import InputError

@dataclass(frozen=True)
class Ice(Sampler):
    inner: Sampler
    thickness: float = 1.0
    layers: tuple[int, ...] = ()
    requires: ClassVar[type] = GaussianKernel

    def __post_init__(self):
        if self.thickness < 0:
            raise InputError("ice has a thickness", value=self.thickness, limit=">= 0")

    @property
    def stochastic(self):
        return False

    def __call__(self, *what):
        yield from self.inner(*what)

class Nothing:
    pass
"""


@pytest.fixture
def ice(install, here):
    install("ice", PLUGIN, sampler=SAMPLER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ddim", DDIM()),
        (" DDIM ( eta = 1 ) ", DDIM(eta=1.0)),
        ("ddim(eta=1)", DDIM(eta=1.0)),
        ("ddim()", DDIM()),
        ("edm(churn=20, churn_min=.05, churn_max=inf)", EDM(churn=20.0, churn_min=0.05)),
        ("edm(churn=1e-3)", EDM(churn=1e-3)),
        ("deis(order=4, variable='rho')", DEIS(order=4, variable="rho")),
        ("deis(variable=rho)", DEIS(variable="rho")),
        ('dpmpp(solver="2S")', DPMSolverPP(solver=Solver.S2)),
        ("dpmpp(solver=S2)", DPMSolverPP(solver=Solver.S2)),
        ("dpmpp(solver=2S)", DPMSolverPP(solver=Solver.S2)),
        ("dpmpp(warmup=full, solver=3M )", DPMSolverPP(solver=Solver.M3, warmup=Warmup.FULL)),
        ("restart(ddim, intervals=[[0.2, 0.5, 2]])", Restart(DDIM(), ((0.2, 0.5, 2),))),
        ("DPMSolverPP(warmup='lower')", DPMSolverPP(warmup=Warmup.LOWER)),
        ("confidence(by='left-to-right')", Confidence(by=Order.LEFT_TO_RIGHT)),
        ("confidence(temperature=.5, remask=0.1)", Confidence(temperature=0.5, remask=0.1)),
    ],
)
def test_a_sampler_is_what_the_text_says(text, expected):
    assert named_sampler(text) == expected


def test_arguments_have_the_types_that_the_class_says():
    assert type(named_sampler("ddim(eta=1)").eta) is float


@pytest.mark.parametrize("name", sorted(registry.specs_of("samplers")))
def test_what_a_record_says_is_read_back(name):
    needed = {"restart": "(ddim(eta=1), intervals=((0.1, 0.4, 2),))"}
    sampler = named_sampler(name + needed.get(name, ""))
    assert named_sampler(spelled(sampler)) == sampler


@pytest.mark.parametrize(
    "sampler",
    [
        DPMSolverPP(solver=Solver.M3),
        EDM(churn=40.0, churn_min=0.05, churn_max=50.0, churn_noise=1.003),
        SASolver(tau=0.3, predictor=2, corrector=0),
        Confidence(by=Order.ENTROPY, temperature=0.1),
        OrderAgnostic(cuts=(0, 4, 9)),
        OrderAgnostic(cuts=(0, 4)),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_every_setting_is_in_the_record(sampler):
    assert named_sampler(spelled(sampler)) == sampler


@pytest.mark.parametrize(
    "text",
    ["sea-ice(ddim(eta=.5), thickness=3)", "sea_ice(inner=ddim(eta=0.5), thickness=3.0)"],
)
def test_a_sampler_within_a_sampler(text, ice):
    found = named_sampler(text)
    assert spelled(found) == "Ice(inner=DDIM(eta=0.5), thickness=3.0, layers=())"
    assert named_sampler(spelled(found)) == found


def test_a_sampler_with_a_hyphen_within_a_sampler(ice):
    found = named_sampler("sea-ice(sea-ice(ddim, layers=(1, 2)))")
    assert spelled(found.inner) == "Ice(inner=DDIM(eta=0.0), thickness=1.0, layers=(1, 2))"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("edm(chrn=20)", ["no argument 'chrn'", "churn_min", "did you mean 'churn'?"]),
        ("ancestral(eta=1)", ["no argument 'eta'", "takes no argument"]),
        ("edm(churn='much')", ["'churn' does not fit", "'much'", "a number"]),
        ("edm(churn=True)", ["'churn' does not fit", "True"]),
        ("ddim(eta=(1, 2))", ["'eta' does not fit", "(1, 2)"]),
        ("deis(variable='rhoo')", ["'rhoo'", "did you mean 'rho'?"]),
        ("deis(order=7)", ["'order' does not fit", "7", "allowed: 2, 3, 4"]),
        ("restart(ddim, intervals=3)", ["'intervals' does not fit", "a number, a whole number"]),
        ("dpmpp(solver='4M')", ["'4M'", "'2M'"]),
        ("ddim(eta=ddim(eta=1))", ["'eta' does not fit", "ddim(eta=1)"]),
        ("ddim(1)", ["takes its arguments by name", "eta", "ddim(eta=...)"]),
        ("sea-ice(ddim, thickness=-1)", ["ice has a thickness", "-1", ">= 0"]),
        ("sea-ice", ["needs the argument 'inner'"]),
        ("sea-ice(ddim, inner=ddim)", ["'inner' twice"]),
        ("no", ["is not an unnoise Sampler"]),
        ("ddim(eta=1, eta=2)", ["ddim(eta=1, eta=2)"]),
        ("ddim(", ["no name with arguments", "edm(churn=20)"]),
        ("ddim(eta=1)(2)", ["no name with arguments"]),
        ("ddim(**{})", ["no name with arguments"]),
        ("ddim(*[1])", ["no name with arguments"]),
        ("ddim(eta=1 + 1)", ["no name with arguments"]),
        ("ddim(eta=__import__('os').getpid())", ["no name with arguments"]),
        ("ddim(eta=[x for x in (1,)])", ["no name with arguments"]),
        ("ddim(eta=lambda: 1)", ["no name with arguments"]),
        ("ddim" + "(" * 400, ["no name with arguments"]),
        ("ddim(eta=" + "-" * 900 + "1)", ["no name with arguments"]),
        ("x" * 2000, ["no name with arguments"]),
        ("", ["no name with arguments"]),
        ("()", ["no name with arguments"]),
    ],
)
def test_what_cannot_be_read_is_our_error(text, words, ice):
    with pytest.raises(ConfigError) as caught:
        named_sampler(text)
    for word in words:
        assert word in str(caught.value)


def test_nothing_is_executed(tmp_path):
    target = tmp_path / "ran"
    for text in (f"ddim(eta=open({str(target)!r}, 'w'))", f"open({str(target)!r}, 'w')"):
        with pytest.raises((ConfigError, PluginError)):
            named_sampler(text)
    assert not target.exists()


def test_an_unknown_name_says_the_nearest(ice):
    for text in ("ddmi", "ddmi(eta=1)", "sea-ice(ddmi)"):
        with pytest.raises(PluginError, match="did you mean 'ddim'"):
            named_sampler(text)


def test_a_class_name_that_two_samplers_have_is_refused(install, here):
    install("ice", PLUGIN.replace("DDIM", "EDMs").replace("Ice", "EDMs"), sampler=SAMPLER)
    with pytest.raises(PluginError, match=r"several samplers are a EDMs; use a name of"):
        named_sampler("EDMs")


@final
@dataclass(frozen=True)
class Grid:
    power: float = 7.0
    requires: ClassVar[type] = Sampler

    def __post_init__(self) -> None:
        if self.power == 0:
            raise InputError("no power")


def test_other_nouns_are_read_in_the_same_way():
    assert made(read("karras(power=5)"), Grid, lambda _: Grid) == Grid(5.0)
    with pytest.raises(ConfigError, match="karras: no power"):
        made(read("karras(power=0)"), Grid, lambda _: Grid)


def test_requests_and_defaults_take_arguments():
    domain = Toy()
    model = Model(
        domain, domain.build(Configuration()), Configuration(), defaults={"sampler": "ddim(eta=1)"}
    )
    by_default = model.generate(num_samples=2, steps=6, seed=1)
    assert by_default.provenance["sampler"] == "DDIM(eta=1.0)"
    asked = model.generate(num_samples=2, steps=6, seed=1, sampler="edm(churn=2)")
    assert asked.provenance["sampler"] == spelled(EDM(churn=2.0))
    again = model.generate(num_samples=2, steps=6, seed=1, sampler=asked.provenance["sampler"])
    assert again.samples == asked.samples != by_default.samples


def test_grids_are_read_in_the_same_way():
    assert named_grid("karras(power=5)") == named_grid("Karras(power=5.0, rho_min=0.002)")
    assert named_grid("karras(power=5)").power == 5.0
    for name, grid in grids.NAMED.items():
        assert named_grid(name) == named_grid(spelled(grid)) == grid
    with pytest.raises(InputError, match="did you mean 'karras'"):
        named_grid("karas(power=5)")
    with pytest.raises(ConfigError, match="power"):
        named_grid("karras(power=-1)")


def test_no_message_has_a_type_of_python_in_it():
    """Of no argument of any sampler and grid."""
    for text in ("restart(ddim, intervals=nonsense)", "unipc(p=nonsense)", "edm(churn=nonsense)"):
        with pytest.raises(ConfigError) as caught:
            named_sampler(text)
        assert not re.search(r"tuple\[|Literal|float|int\b", str(caught.value)), caught.value


def test_samplers_are_suggested_by_the_names_that_users_type():
    kernel = GaussianKernel(Euclidean(), VPCosine())
    names = names_for(kernel)
    assert {"ddim", "adaptive-ode", "unipc"} < set(names)
    assert all(named_sampler(name).fits(kernel) for name in names if name != "restart")
    model = Model(Toy(), Toy().build(Configuration()), Configuration())
    with pytest.raises(IncompatibleSampler) as caught:
        model.generate(sampler="first-hitting")
    assert "adaptive-ode, ancestral" in str(caught.value)
    assert "SMC" not in str(caught.value)


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_no_name(name):
    model = Model(Toy(), Toy().build(Configuration()), Configuration())
    for option in ("sampler", "grid"):
        with pytest.raises(ConfigError, match="no name with arguments"):
            model.generate(**{option: name})
