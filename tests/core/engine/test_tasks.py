"""Tasks about some samples of a batch, and what a plan and a record are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent))
from engine_toy import Configuration, Toy

from unnoise.domain import Draw, Task, Trained
from unnoise.engine.options import Options
from unnoise.errors import ConfigError
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout


class Request(BaseModel):
    rows: list[int] | None = None


class Again(Toy):
    """The samples of `rows` (by number) are drawn twice."""

    Request = Request

    def prepare(self, request: Request, model: Trained, options: Options) -> list:
        self.seed = options.seed
        return [request]

    def plan(self, inputs: list, model: Trained, draws: list[Draw]):
        centre = {"centre": torch.zeros(len(draws))}
        state = yield Task(Layout.dense(len(draws), (2,)), centre)
        found = state.tolist()
        again = [k for k, draw in enumerate(draws) if draw.number in (inputs[0].rows or [])]
        if again:
            centre = {"centre": torch.zeros(len(again))}
            state = yield Task(Layout.dense(len(again), (2,)), centre, rows=again)
            for k, x in zip(again, state.tolist(), strict=True):
                found[k] = x
        return found

    def counts(self, samples: list) -> dict[str, int]:
        return {"positive": sum(x[0] > 0 for x in samples), "all": len(samples)}


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    domain, configuration = Again(), Configuration()
    return Model(
        domain,
        domain.build(configuration),
        configuration,
        domain.defaults(configuration),
    )


def test_samples_that_are_not_drawn_again_stay_and_the_others_change(model: Model):
    once = model.generate(num_samples=6).samples
    again = model.generate(num_samples=6, rows=[1, 4]).samples
    assert [a == b for a, b in zip(once, again, strict=True)] == [True, False, True] * 2


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_sample_that_is_drawn_again_does_not_depend_on_its_batch(model: Model, batch_size: int):
    whole = torch.tensor(model.generate(num_samples=6, rows=[1, 4, 5]).samples)
    parts = model.generate(num_samples=6, rows=[1, 4, 5], batch_size=batch_size).samples
    assert torch.allclose(torch.tensor(parts), whole, rtol=0, atol=1e-5)


def test_states_are_those_of_all_samples(model: Model):
    assert model.generate(num_samples=4, rows=[2]).states.shape == (4, 2)


def test_a_task_has_as_many_states_as_it_names(model: Model, monkeypatch):
    def plan(self, inputs, model, draws):
        yield Task(Layout.dense(2, (2,)), {"centre": torch.zeros(2)}, rows=[0])
        return []

    monkeypatch.setattr(Again, "plan", plan)
    with pytest.raises(ConfigError, match="one state per sample"):
        model.generate(num_samples=2)


def test_a_domain_prepares_with_the_options(model: Model):
    model.generate(num_samples=2, seed=41)
    assert model.domain.seed == 41


def test_counts_of_batches_add_up(model: Model):
    whole = model.generate(num_samples=6).provenance["counts"]
    assert whole["all"] == 6
    assert model.generate(num_samples=6, batch_size=4).provenance["counts"] == whole


def test_part_of_a_noise_source_shares_its_streams():
    layout = Layout.dense(3, (2,))
    noise, other = NoiseSource(1, [5, 6, 7]), NoiseSource(1, [5, 6, 7])
    first = noise.of([0, 2]).normal(Layout.dense(2, (2,)))
    assert torch.equal(first, other.normal(layout)[[0, 2]])
    assert noise.of([2]).ids == [7]
    second = noise.normal(layout)
    assert torch.equal(second[1], NoiseSource(1, [6]).normal(Layout.dense(1, (2,)))[0])
    assert torch.equal(second[[0, 2]], other.normal(layout)[[0, 2]])
