"""Potentials of a request and of a task are obeyed by particles."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from engine_models import POINTS, TOKENS
from engine_toy import Toy

from unnoise.conditioning import SMC, Language, Measurement, Within
from unnoise.domain import Task
from unnoise.errors import InputError

EVERY_SECOND = Language.from_edges(
    [(a, v, (a + 1) % 2) for a in (0, 1) for v in (a, a + 2)], [1], 5
)


def far(out) -> float:
    return float((out.states - 3.0).abs().mean())


def test_of_a_request():
    """Each sample has its own row of y, whatever the batches."""
    plain = POINTS.generate(num_samples=6, steps=8)
    potential = Measurement(torch.full((1, 2), 3.0), 0.5)
    out = POINTS.generate(num_samples=6, steps=8, potential=potential)
    assert far(out) < 0.8 * far(plain)
    assert out.provenance["sampler"].startswith("SMC(potential=Measurement((1, 2), 0.5, sha256 ")
    assert set(out.provenance["sampled"][0]) == {"log_evidence", "effective", "least_effective"}
    y = torch.linspace(-1, 1, 6)[:, None].expand(6, 2).contiguous()
    asked = {"num_samples": 6, "steps": 8, "potential": Measurement(y, 0.5)}
    own = POINTS.generate(**asked, sampler=SMC(particles=16))
    small = POINTS.generate(**asked, sampler=SMC(particles=16), batch_size=4)
    torch.testing.assert_close(small.states, own.states, atol=1e-5, rtol=1e-5)
    both = torch.stack([own.states.mean(1), y[:, 0]])
    assert float(torch.corrcoef(both)[0, 1]) > 0.6


def test_of_a_task_and_of_both():
    class Bounded(Toy):
        def plan(self, inputs, model, draws):
            x = yield Task(
                Toy().layout("points", draws),
                condition={"centre": torch.zeros(len(draws))},
                potential=Within(low=-0.5),
            )
            return list(x)

    model = replace(POINTS, domain=Bounded())
    plain = POINTS.generate(num_samples=8, steps=8).states
    assert bool((plain < -0.5).any())
    asked = {"num_samples": 8, "steps": 8, "sampler": SMC(particles=128)}
    out = model.generate(**asked).states
    assert bool((out >= -0.5).all())
    assert bool((out > 0.5).any())
    both = model.generate(**asked, potential=Within(high=0.5)).states
    assert bool(((both >= -0.5) & (both <= 0.5)).all())


def test_of_tokens():
    language = replace(EVERY_SECOND, hidden=4)
    out = TOKENS.generate(num_samples=20, steps=6, potential=language)
    assert bool((out.states % 2 == torch.arange(7) % 2).all())


def test_a_sampler_of_another_kind_is_refused():
    for sampler in ("ddim", SMC(Within())):
        with pytest.raises(InputError, match="walk in their own way"):
            POINTS.generate(potential=Within(), sampler=sampler)
    with pytest.raises(InputError, match="potential"):
        POINTS.generate(potential=3)
