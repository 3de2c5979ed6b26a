"""The engine with a toy domain: the noise contract, cuts into batches, plans, guidance."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from engine_models import CASES, MODELS, POINTS, close, model
from engine_toy import Toy

import unnoise
from unnoise.domain import Task
from unnoise.engine.run import generate_iter
from unnoise.errors import (
    ConfigError,
)
from unnoise.model import Model
from unnoise.spaces import Layout


@pytest.mark.parametrize(("kind", "sampler"), CASES, ids=str)
def test_a_sample_does_not_depend_on_its_batch(kind, sampler):
    m, asked = MODELS[kind], {"num_samples": 8, "seed": 5, "sampler": sampler, "passes": 2}
    together = m.generate(**asked)
    assert len(together.samples) == 8
    assert len({json.dumps(sample) for sample in together.samples}) == 8
    for other in (
        m.generate(**asked, batch_size=1),
        m.generate(**asked, batch_size=3),
        m.generate(**asked, ids=[3]),
        m.generate(**asked, ids=[7, 0, 3, 1]),
        m.generate(**asked, ids=[3, 1], batch_size=1),
        m.generate(**{**asked, "num_samples": 100}, ids=range(2, 5)),
    ):
        for i, sample in zip(other.provenance["ids"], other.samples, strict=True):
            close(sample, together.samples[i])
    again = m.generate(**asked)
    assert again.samples == together.samples  # the same batch: the same bits
    assert m.generate(**{**asked, "seed": 6}).samples != together.samples


def test_a_second_process_makes_the_same_sample(installed, python):
    code = (
        "import unnoise, json\n"
        "out = unnoise.generate('toy', num_samples=8, seed=5, sampler='ancestral', ids=[6, 3])\n"
        "print(json.dumps(out.samples))"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    here = unnoise.generate("toy", num_samples=8, seed=5, sampler="ancestral")
    close(json.loads(done.stdout), [here.samples[6], here.samples[3]])
    close(here.samples, installed.generate(num_samples=8, seed=5, sampler="ancestral").samples)


def test_several_inputs_come_in_groups():
    out = POINTS.generate(centre=[0.0, 1.0, -2.0], num_samples=4, seed=1, batch_size=5)
    groups = out.groups()
    assert [len(group) for group in groups] == [4, 4, 4]
    assert [sample for group in groups for sample in group] == out.samples
    assert out.provenance["ids"] == list(range(12))
    # ids pick from all of them, and groups hold what was picked
    some = POINTS.generate(centre=[0.0, 1.0, -2.0], num_samples=4, seed=1, ids=[11, 4, 5])
    assert [len(group) for group in some.groups()] == [2, 1]
    close(some.groups()[0], out.samples[4:6])
    close(some.groups()[1], out.samples[11:])
    assert POINTS.generate(num_samples=2).groups() == [POINTS.generate(num_samples=2).samples]


def test_batches_come_as_they_are_finished_and_are_not_kept():
    seen = []
    run = generate_iter(
        POINTS.domain,
        POINTS,
        num_samples=1_000_000,
        batch_size=3,
        callback=lambda p: seen.append(p.batch),
    )
    first = next(run)
    assert set(seen) == {0}  # the second batch is not begun
    assert (len(first.samples), first.provenance["ids"]) == (3, [0, 1, 2])
    gone = weakref.ref(first.states)
    del first
    second = next(run)
    gc.collect()
    assert gone() is None
    assert second.provenance["ids"] == [3, 4, 5]
    run.close()


def test_a_plan_with_several_tasks():
    out = POINTS.generate(num_samples=3, passes=3, steps=4, return_trajectory=True)
    # the first from 1, the others from 1/2
    times = [frame.t for frame in out.trajectory]
    assert times == pytest.approx([1, 0.75, 0.5, 0.25, 0, *[0.5, 0.375, 0.25, 0.125, 0] * 2])
    assert out.provenance["evaluations"] == 12
    # by hand: the state of the first, corrupted by the next numbers of the same streams
    once = POINTS.generate(num_samples=3, passes=1, steps=4)
    torch.testing.assert_close(out.trajectory[4].x, once.states)
    assert not torch.equal(out.states, once.states)


def test_a_plan_without_tasks_and_a_plan_that_forgets():
    out = POINTS.generate(num_samples=3, passes=0)
    assert out.samples == [[], [], []]
    assert out.provenance["evaluations"] == 0
    with pytest.raises(ConfigError, match="another number of samples"):
        POINTS.generate(num_samples=3, lose=1)

    class Wrong(Toy):
        def plan(self, inputs, model, draws):
            more = len(draws) + 1
            state = yield Task(Layout.dense(more, (2,)), {"centre": torch.zeros(more)})
            return state.tolist()

    with pytest.raises(ConfigError, match="one state per sample"):
        Model(Wrong(), POINTS.denoiser, POINTS.configuration).generate(num_samples=2)


@pytest.mark.parametrize("first", [False, True])
def test_the_record_has_the_steps_that_the_request_decides(first):
    class Stages(Toy):
        def plan(self, inputs, model, draws):
            told = {"centre": torch.zeros(len(draws))}
            own = Task(Layout.dense(len(draws), (2,)), told, steps=9, grid="quadratic")
            asked = Task(own.layout, told)
            for task in (asked, own) if first else (own, asked):
                state = yield task
            return state.tolist()

    staged = Model(Stages(), POINTS.denoiser, POINTS.configuration)
    found = staged.generate(num_samples=2, steps=3, grid="linspace").provenance
    assert (found["steps"], found["grid"], found["evaluations"]) == (3, "linspace", 12)


def test_guidance_is_counted_and_scale_zero_is_the_centre_zero():
    one = POINTS.generate(num_samples=2, steps=5)
    guided = POINTS.generate(num_samples=2, steps=5, centre=3.0, guidance_scale=2.0)
    none = POINTS.generate(num_samples=2, steps=5, centre=3.0, guidance_scale=0.0)
    assert one.provenance["evaluations"] == 5
    assert guided.provenance["evaluations"] == 10
    close(none.samples, one.samples)


def test_what_a_callback_raises_ends_the_run_and_leaves_nothing_behind():
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        POINTS.generate(num_samples=2, callback=stop)
    assert not POINTS.denoiser._forward_pre_hooks
    assert POINTS.generate(num_samples=2, steps=3).provenance["evaluations"] == 3


def test_generating_needs_no_gradient_and_leaves_the_mode():
    m = model()
    m.denoiser.train()
    out = m.generate(num_samples=2)
    assert not out.states.requires_grad
    assert torch.is_grad_enabled()
