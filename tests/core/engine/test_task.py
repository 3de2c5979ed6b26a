"""One task: starts and observations of the user, steps, deadlines, states that are not finite."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from engine_models import POINTS, TOKENS, close, model
from engine_toy import Toy

from unnoise.denoise import Clean, NetworkDenoiser
from unnoise.engine.run import generate_iter
from unnoise.errors import (
    Cancelled,
    IncompatibleSampler,
    InputError,
    NonFiniteError,
)
from unnoise.model import Model
from unnoise.samplers import Observation, RePaint, Start


def test_callback_and_trajectory():
    seen = []
    out = POINTS.generate(
        num_samples=5, batch_size=2, steps=4, callback=seen.append, return_trajectory=True
    )
    assert [(p.batch, p.batches, p.step, p.steps) for p in seen] == [
        (b, 3, i, 4) for b in range(3) for i in range(1, 5)
    ]
    assert [p.t for p in seen[:4]] == [0.75, 0.5, 0.25, 0.0]
    frames = out.trajectory
    assert [frame.t for frame in frames] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert all(frame.x.shape == frame.x0.shape == (5, 2) for frame in frames)
    torch.testing.assert_close(frames[-1].x, out.states)
    torch.testing.assert_close(frames[-1].x, frames[-1].x0)  # DDIM ends on its prediction
    assert POINTS.generate(num_samples=2).trajectory == []


def test_a_deadline_that_passes():
    with pytest.raises(Cancelled, match="deadline") as caught:
        POINTS.generate(num_samples=2, deadline=1e-9)
    assert caught.value.fix == "allow more time, or fewer steps"  # in either language
    assert not POINTS.denoiser._forward_pre_hooks
    POINTS.generate(num_samples=2, deadline=3600)
    run = generate_iter(POINTS.domain, POINTS, num_samples=4, batch_size=2, deadline=3600)
    assert len(next(run).samples) == 2
    run.close()


def test_a_start_for_all_and_one_for_each():
    x = torch.tensor([[1.0, -1.0]])
    shared = POINTS.generate(num_samples=3, start=Start(x, 0.5, corrupt=False), steps=2)
    assert len({tuple(sample) for sample in shared.samples}) == 1  # DDIM from one state
    rows = torch.arange(6.0).view(3, 2)
    each = POINTS.generate(
        num_samples=3, start=Start(rows, 0.5, corrupt=False), return_trajectory=True
    )
    assert torch.equal(each.trajectory[0].x, rows)
    assert each.trajectory[0].t == 0.5
    # rows belong to the ids in the order in which these are given
    some = POINTS.generate(
        num_samples=9,
        ids=[7, 2, 5],
        start=Start(rows, 0.5, corrupt=False),
        batch_size=2,
        return_trajectory=True,
    )
    assert torch.equal(some.trajectory[0].x, rows)
    with pytest.raises(InputError, match="one row per sample"):
        POINTS.generate(num_samples=4, start=Start(rows))
    with pytest.raises(InputError, match="shape"):
        POINTS.generate(num_samples=3, start=Start(torch.zeros(3, 5)))
    with pytest.raises(InputError, match=r"\(0, 1\]"):
        POINTS.generate(num_samples=3, start=Start(rows, 0.0))
    with pytest.raises(InputError, match="already fixes"):
        POINTS.generate(num_samples=3, passes=2, start=Start(rows))


@pytest.mark.parametrize("method", [None, RePaint(2, 2)])
def test_an_observation_for_all_and_one_for_each(method):
    known = {"method": method} if method else {}
    value, mask = torch.tensor([[0.25, 0.0]]), torch.tensor([[True, False]])
    out = POINTS.generate(num_samples=3, observation=Observation(value, mask, **known))
    assert (out.states[:, 0] == 0.25).all()
    rows = torch.arange(6.0).view(3, 2)
    each = Observation(rows, mask.expand(3, 2), **known)
    some = POINTS.generate(num_samples=9, ids=[7, 2, 5], observation=each, batch_size=2)
    assert torch.equal(some.states[:, 0], rows[:, 0])
    # as does the noise of the known part, an observed sample keeps to itself
    alone = POINTS.generate(
        num_samples=9, ids=[2], observation=Observation(rows[1:2], mask, **known)
    )
    close(alone.samples[0], some.samples[1])
    nothing = Observation(rows, torch.zeros(3, 2).bool())
    assert torch.equal(
        POINTS.generate(num_samples=3, observation=nothing).states,
        POINTS.generate(num_samples=3).states,
    )
    with pytest.raises(InputError, match="one row per sample"):
        POINTS.generate(num_samples=4, observation=each)
    with pytest.raises(InputError, match="shape"):
        POINTS.generate(
            num_samples=3, observation=Observation(torch.zeros(3, 5), torch.ones(3, 5).bool())
        )


def test_a_sampler_that_does_not_fit():
    with pytest.raises(IncompatibleSampler, match="DDIM needs a GaussianKernel"):
        TOKENS.generate(sampler="ddim")
    assert len(TOKENS.generate().samples) == 1  # Ancestral by default
    assert "DDIM" in POINTS.generate().provenance["sampler"]


def test_discrete_steps_are_a_limit():
    m = model(table=10)
    assert len(m.generate(steps=10).samples) == 1
    with pytest.raises(InputError, match="10 steps"):
        m.generate(steps=11)
    with pytest.raises(InputError, match="steps"):
        m.generate(steps=1, start=Start(torch.zeros(1, 2), 0.55))


@pytest.mark.parametrize("steps", [3, 11, 25, [1.0, 0.7, 0.0]])
def test_numbers_that_are_not_finite(steps):
    broken = model()
    with torch.no_grad():
        broken.denoiser.network.net[2].bias.fill_(math.nan)
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        broken.generate(num_samples=2, steps=steps)


def test_logits_that_are_not_finite():
    broken = model("tokens")
    with torch.no_grad():
        broken.denoiser.network.net[2].bias.fill_(math.nan)
    with pytest.raises(NonFiniteError):
        broken.generate(num_samples=2)


def test_one_bad_sample_is_named():
    class Poisoned(torch.nn.Module):
        def forward(self, x, label, layout, condition):
            out = x.clone()
            out[1] = math.inf
            return out

    denoiser = NetworkDenoiser(Poisoned(), POINTS.denoiser.kernel, Clean())
    with pytest.raises(NonFiniteError, match=r"samples \[1\]"):
        Model(Toy(), denoiser, POINTS.configuration).generate(num_samples=3)
