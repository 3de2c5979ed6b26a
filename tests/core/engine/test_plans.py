"""Plans of more than one network, of samples that are finished early, and on adopted models."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel, ConfigDict

sys.path.insert(0, str(Path(__file__).parent))
from engine_models import POINTS, close, model
from engine_toy import Toy

import unnoise
from unnoise.discovery import registry
from unnoise.domain import Domain, Partial, Task, Window
from unnoise.engine.output import collect
from unnoise.engine.run import generate_iter
from unnoise.errors import BundleError, ConfigError, InputError
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.model import Model
from unnoise.samplers import Start
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle


class Nothing(BaseModel):
    model_config = ConfigDict(extra="forbid")


def centre(n: int) -> dict:
    return {"centre": torch.zeros(n)}


# ---- two networks

SECOND = model(table=10).denoiser  # of ten discrete steps, where the first is continuous


class TwoStages(Toy):
    """Points by the model, and each of them again by a network of its own."""

    Request = Nothing
    given: dict = {}  # noqa: RUF012

    def prepare(self, request, model, options):
        return [request]

    def plan(self, inputs, model, draws):
        n = len(draws)
        state = yield Task(Layout.dense(n, (2,)), centre(n))
        again = Start(state, 0.5)
        state = yield Task(
            Layout.dense(n, (2,)), centre(n), start=again, denoiser=SECOND, **self.given
        )
        return state.tolist()


def two(given: dict, **request):
    domain = TwoStages()
    domain.given = given
    return Model(domain, POINTS.denoiser, POINTS.configuration, defaults={"steps": 4}).generate(
        num_samples=3, return_trajectory=True, **request
    )


def test_a_task_has_the_grid_of_its_own_network_and_its_evaluations_count():
    out = two({})
    # 5 times from 1, then 4 steps of ten from one half: 0.5, 0.4, 0.3 (or 0.2), 0.1, 0
    times = [frame.t for frame in out.trajectory]
    assert times[:5] == [1, 0.75, 0.5, 0.25, 0]
    assert times[5] == 0.5
    assert times[-1] == 0
    assert len(times) == 10
    assert all(round(10 * t) == pytest.approx(10 * t) for t in times[5:])
    assert out.provenance["evaluations"] == 8


def test_a_task_may_bring_steps_and_a_grid():
    out = two({"steps": 2})
    assert [frame.t for frame in out.trajectory][5:] == [0.5, 0.2, 0.0]
    assert out.provenance["evaluations"] == 6
    named = two({"steps": 3, "grid": "quadratic"}, steps=5, grid="uniform")
    assert len(named.trajectory) == 6 + 4
    assert named.provenance["evaluations"] == 8
    times = two({"steps": [0.5, 0.1, 0.0]})
    assert [frame.t for frame in times.trajectory][5:] == [0.5, 0.1, 0.0]


# ---- pieces of a long signal

ORACLE = GaussianOracle(GaussianKernel(Euclidean(), VPCosine()), 0.0, 1.0)


class Signal(Toy):
    """A signal of rows, of which each piece is a diffusion of its own."""

    Request = Nothing
    cuts: tuple = ()

    def prepare(self, request, model, options):
        return [request]

    def plan(self, inputs, model, draws):
        found = []
        for first, last in self.cuts:
            layout = Layout.dense(len(draws), (last - first, 2))
            found.append((yield Task(layout, denoiser=ORACLE, window=Window(first, last, 0))))
        return [[state[k] for state in found] for k in range(len(draws))]


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_tasks_about_pieces_of_a_signal_draw_what_the_whole_draws(sampler):
    """One that draws at the begin alone, and one that draws in every step."""
    domain = Signal()
    domain.cuts = ((0, 40), (0, 15), (10, 33), (33, 40))
    odd = Model(domain, POINTS.denoiser, POINTS.configuration, defaults={"steps": 4})
    for whole, *pieces in odd.generate(num_samples=2, sampler=sampler, seed=3).samples:
        assert whole.std() > 0.5
        for (first, last), piece in zip(domain.cuts[1:], pieces, strict=True):
            torch.testing.assert_close(piece, whole[first:last])
    domain.cuts = ((0, 40),)
    other = odd.generate(num_samples=2, sampler=sampler, seed=4).samples
    assert not torch.equal(other[0][0], other[1][0])


# ---- starts under a list of times


@pytest.mark.parametrize("t", [1.0, 0.6, 0.3])
def test_a_start_under_a_list_of_times(t):
    listed = replace(POINTS, defaults={"steps": [1.0, 0.6, 0.2, 0.0]})
    start = Start(torch.zeros(1, 2), t)
    out = listed.generate(num_samples=2, start=start, return_trajectory=True)
    assert [frame.t for frame in out.trajectory] == [t, *(s for s in (0.6, 0.2, 0.0) if s < t)]
    # the number of them, when another grid is asked for
    out = listed.generate(num_samples=2, start=start, grid="uniform", return_trajectory=True)
    assert len(out.trajectory) == 4
    # times that the user lists are meant as they are
    with pytest.raises(InputError, match="begin where"):
        POINTS.generate(num_samples=1, steps=[1.0, 0.5, 0.0], start=Start(torch.zeros(1, 2), 0.7))


class HalfWay(Toy):
    """A plan whose only task starts half-way."""

    Request = Nothing

    def prepare(self, request, model, options):
        return [request]

    def plan(self, inputs, model, draws):
        n = len(draws)
        start = Start(torch.zeros(n, 2), 0.3)
        state = yield Task(Layout.dense(n, (2,)), centre(n), start=start)
        return state.tolist()


def test_a_plan_may_start_half_way_under_a_list_of_times():
    m = Model(
        HalfWay(), POINTS.denoiser, POINTS.configuration, defaults={"steps": [1, 0.6, 0.2, 0]}
    )
    out = m.generate(num_samples=2, return_trajectory=True)
    assert [frame.t for frame in out.trajectory] == [0.3, 0.2, 0.0]


# ---- what is finished early


class Pieces(Toy):
    """Each sample is handed out in two parts, the even ones whole at the end."""

    Request = Nothing

    def prepare(self, request, model, options):
        return [request]

    def plan(self, inputs, model, draws):
        n = len(draws)
        odd = [k for k, draw in enumerate(draws) if draw.number % 2]
        state = yield Task(Layout.dense(n, (2,)), centre(n))
        if odd:
            yield Partial([state[k, :1].tolist() for k in odd], odd)
            yield Partial([state[k, 1:].tolist() for k in odd], odd)
        return [None if k in odd else state[k].tolist() for k in range(n)]

    def join(self, parts):
        return [value for part in parts for value in part]


def test_parts_are_handed_out_at_once_and_joined():
    m = Model(Pieces(), POINTS.denoiser, POINTS.configuration, defaults={"steps": 3})
    expected = POINTS.generate(num_samples=5, steps=3).samples
    seen = list(generate_iter(m.domain, m, num_samples=5, batch_size=3))
    numbers = [(out.provenance["ids"], out.parts) for out in seen]
    assert numbers == [
        ([1], (0,)),
        ([1], (1,)),
        ([0, 2], (0, 0)),
        ([3], (0,)),
        ([3], (1,)),
        ([4], (0,)),
    ]
    whole = collect(seen)
    by_number = dict(zip(whole.provenance["ids"], whole.samples, strict=True))
    close([by_number[i] for i in range(5)], expected)
    assert whole.states.shape == (5, 2)
    assert whole.provenance["evaluations"] == 3


def test_parts_are_files_in_order(tmp_path):
    m = Model(Pieces(), POINTS.denoiser, POINTS.configuration, defaults={"steps": 3})
    names = [
        path.name
        for out in generate_iter(m.domain, m, num_samples=3)
        for path in out.write(tmp_path)
    ]
    assert names == ["00001.json", "00001.1.json", "00000.json", "00002.json"]


class Unjoined(Pieces):
    join = Domain.join


class Elsewhere(Pieces):
    def plan(self, inputs, model, draws):
        yield Partial([[0.0]], [len(draws)])
        return []


class Forgotten(Pieces):
    def plan(self, inputs, model, draws):
        yield Partial([[0.0]], [0])
        return [None] * len(draws)


@pytest.mark.parametrize(
    ("domain", "message"),
    [(Unjoined(), "cannot join"), (Elsewhere(), "other places"), (Forgotten(), "returned None")],
)
def test_parts_that_make_no_sample(domain, message):
    m = Model(domain, POINTS.denoiser, POINTS.configuration, defaults={"steps": 3})
    with pytest.raises(unnoise.errors.UnnoiseError, match=message):
        m.generate(num_samples=3)


# ---- prepared once


class Counted(Toy):
    """Remembers how often it prepared."""

    prepared = 0

    def prepare(self, request, model, options):
        self.prepared += 1
        return super().prepare(request, model, options)


def test_a_request_is_prepared_once_and_before_anything_runs():
    domain = Counted()
    m = Model(domain, POINTS.denoiser, POINTS.configuration, defaults={"steps": 3})
    run = generate_iter(domain, m, centre=[0.0, 1.0], num_samples=5, batch_size=2)
    assert domain.prepared == 1
    assert sum(len(out.samples) for out in run) == 10
    assert domain.prepared == 1
    with pytest.raises(InputError):  # at the call, not when the first batch is asked for
        generate_iter(domain, m, centre="left")


# ---- adopted models

GUEST = """
from pydantic import BaseModel, ConfigDict
from unnoise.domain import Domain, Task
from unnoise.spaces import Layout
import torch

class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

class Guest(Domain):
    name = "guest"
    Request = Request
    adopt = ("toy",)

    def plan(self, inputs, model, draws):
        n = len(draws)
        state = yield Task(Layout.dense(n, (2,)), {"centre": torch.zeros(n)})
        return [[-value for value in row] for row in state.tolist()]

    def write(self, sample, folder, stem):
        raise NotImplementedError
"""


def test_a_domain_runs_on_the_models_that_it_adopts(installed, install):
    hook = (
        "from unnoise.specs import DomainSpec, hookimpl\n\n@hookimpl\ndef unnoise_domains():\n"
        "    return [DomainSpec('guest', target='unnoise_guest.domain:Guest')]\n"
    )
    install("guest", hook, domain=GUEST)
    registry.reload()
    expected = [[-value for value in row] for row in installed.generate(num_samples=3).samples]
    for chosen in (None, installed, "toy"):
        out = unnoise.generate("guest", model=chosen, num_samples=3)
        assert out.samples == expected
        assert out.provenance["domain"] == "guest"
        assert out.domain.name == "guest"

    class Other(Toy):
        name = "other"

    stranger = Model(Other(), POINTS.denoiser, POINTS.configuration)
    with pytest.raises(BundleError, match="'other'"):
        unnoise.generate("guest", model=stranger)
    with pytest.raises(unnoise.errors.PluginError, match="no models of its own"):
        unnoise.train("guest", data="x", out="y")


def test_nonsense_of_a_plan_is_an_error_of_ours():
    def run(plan):
        domain = Counted()
        domain.plan = plan
        return Model(domain, POINTS.denoiser, POINTS.configuration).generate(num_samples=2)

    def other(inputs, model, draws):
        yield "a task"

    def nothing(inputs, model, draws):
        yield Task(Layout.dense(len(draws), (2,)), centre(len(draws)))

    for plan, message in (
        (lambda inputs, model, draws: [], "no generator"),
        (other, "something else than a Task"),
        (nothing, "no list of samples"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(plan)
