"""Requests of strangers in one batch: the same samples, records of their own."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from engine_models import MODELS, close

from unnoise.engine.run import outputs, ready
from unnoise.engine.together import company, run_together
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Ancestral
from unnoise.spaces import Layout

STRANGERS = [
    {"centre": 1.0, "seed": 3, "num_samples": 2},
    {"centre": [0.5, -2.0], "seed": 4, "num_samples": 3},
    {"centre": 1.0, "seed": 3, "num_samples": 2},
    {"centre": -1.0, "seed": 0, "num_samples": 1},
]


def jobs(kind: str, requests, **more):
    model = MODELS[kind]
    return [ready(model.domain, model, {**request, **more}) for request in requests]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("sampler", [DDIM(), Ancestral()])
def test_strangers_change_nothing(kind, sampler):
    if kind == "tokens" and isinstance(sampler, DDIM):
        pytest.skip("DDIM is for Gaussian kernels")
    found = jobs(kind, STRANGERS, sampler=sampler)
    assert len({company(job) for job in found}) == 1
    together = dict(run_together(found))
    for place, request in enumerate(STRANGERS):
        (alone,) = outputs(jobs(kind, [request], sampler=sampler)[0])
        out = together[place]
        for one, other in zip(out.samples, alone.samples, strict=True):
            torch.testing.assert_close(
                torch.tensor(one), torch.tensor(other), rtol=0, atol=1e-5, check_dtype=False
            )
        assert out.inputs == alone.inputs
        for name in ("seed", "ids", "num_samples", "request", "evaluations", "sampler", "steps"):
            assert out.provenance[name] == alone.provenance[name]


def test_the_comparison_can_fail():
    first, second = (dict(run_together(jobs("points", [r])))[0] for r in STRANGERS[:2])
    with pytest.raises(AssertionError):
        close(first.samples[0], second.samples[0])


def test_who_keeps_company():
    one = {"centre": 1.0}
    first, other, guided, steps, late = (
        company(jobs("points", [{**one, **more}])[0])
        for more in ({}, {"seed": 9}, {"guidance_scale": 2.0}, {"steps": 3}, {"deadline": 9.0})
    )
    assert first == other
    assert first is not None
    assert first != guided
    assert first != steps
    assert late is None
    assert company(jobs("points", [{**one, "num_samples": 65}])[0]) is None
    assert company(jobs("points", [{**one, "num_samples": 1, "exact": True}])[0]) is None


def test_a_domain_that_says_nothing_keeps_to_itself(monkeypatch):
    monkeypatch.setattr(type(MODELS["points"].domain), "alike", lambda *_: None)
    assert company(jobs("points", STRANGERS[:1])[0]) is None


@pytest.mark.parametrize("change", [lambda n: n, lambda n: n.fork(), lambda n: n.window()])
def test_noise_of_several_seeds(change):
    layout = Layout.dense(3, (5,))
    joint = change(NoiseSource([7, 8, 7], [0, 0, 4])).normal(layout)
    for k, (seed, number) in enumerate([(7, 0), (8, 0), (7, 4)]):
        own = change(NoiseSource(seed, [number])).normal(Layout.dense(1, (5,)))
        assert torch.equal(joint[k : k + 1], own)


def test_parts_of_noise_of_several_seeds():
    seeds, ids = [7, 8, 7], [0, 0, 4]
    joint = NoiseSource(seeds, ids)
    rows = joint.of([1, 2]).normal(Layout.dense(2, (5,)))
    assert torch.equal(rows, NoiseSource(seeds[1:], ids[1:]).normal(Layout.dense(2, (5,))))
    many = NoiseSource(seeds, ids).branches(2).normal(Layout.dense(6, (5,)))
    assert torch.equal(many[2:4], NoiseSource(8, [0]).branches(2).normal(Layout.dense(2, (5,))))
    times = NoiseSource(seeds, ids).times()
    assert torch.equal(times[1:2], NoiseSource(8, [0]).times())
    copy = NoiseSource(seeds, ids).copy().normal(Layout.dense(3, (5,)))
    assert torch.equal(copy, NoiseSource(seeds, ids).normal(Layout.dense(3, (5,))))


def test_a_part_of_what_was_made():
    job = jobs("points", STRANGERS[:1])[0]
    made = replace(next(iter(_made(job))), rows=[0, 1])
    assert made.of([1]).samples == [made.samples[1]]
    assert made.of([1]).rows == [0]


def _made(job):
    from unnoise.engine.run import run_batch

    noise = NoiseSource(3, [draw.number for draw in job.draws])
    return run_batch(job, job.draws, noise, 0)
