"""A learned forward drift: its bound against closed forms, its gradient against autograd's."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from unnoise.errors import InputError
from unnoise.kernels import LearnedDrift
from unnoise.noise import NoiseSource
from unnoise.objectives import path_bound
from unnoise.spaces import Euclidean, Layout, ZeroCoM

D = torch.float64
RATE, V = 6.0, 0.25


def linear(x, t, layout):
    return -0.5 * RATE * x


def constant(t):
    return torch.full_like(t, RATE**0.5)


def exact(x, t, layout):
    """The score of data N(0, V) under dx = -RATE x / 2 dt + sqrt(RATE) dw."""
    kept = (-RATE * t).exp()
    return -x / layout.expand(kept * V + 1 - kept, x)


class Field(nn.Module):
    """A small network of state and time."""

    def __init__(self, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()

    def forward(self, x, t, layout):
        time = layout.expand(t, x).expand(*x.shape[:-1], 1)
        return self.net(torch.cat([x, time], -1))


class Spread(nn.Module):
    def __init__(self):
        super().__init__()
        self.log = nn.Parameter(torch.tensor(0.2, dtype=D))

    def forward(self, t):
        return self.log.exp() * (1 + t)


def grid(n):
    return [i / n for i in range(n + 1)]


def gap(steps):
    """E over data and paths of the bound + log p(x_0), by the variances of the linear chain."""
    h, m, total = 1 / steps, V, 0.0
    a, noise = 1 - RATE * h / 2, RATE * h
    for i in range(steps):
        kept = math.exp(-RATE * (i + 1) * h)
        c = 1 + RATE * h / 2 - RATE * h / (kept * V + 1 - kept)
        after = a * a * m + noise
        total += (m - 2 * c * a * m + c * c * after) / (2 * noise) - 0.5
        m = after
    return total + 0.5 * (m - 1 - math.log(V))  # -log p(x_N), less the entropy of the data


def test_with_a_linear_drift_and_the_exact_score_the_bound_is_the_likelihood_at_order_1():
    gaps = [gap(steps) for steps in (80, 160, 320, 640, 1280)]
    slopes = [math.log2(a / b) for a, b in pairwise(gaps)]
    assert all(g > 0 for g in gaps)
    assert slopes == pytest.approx([1.0] * 4, abs=0.15)
    assert slopes[-1] == pytest.approx(1.0, abs=0.02)
    n = 20_000
    x0 = V**0.5 * torch.randn(n, dtype=D, generator=torch.Generator().manual_seed(0))
    truth = x0**2 / V / 2 + 0.5 * math.log(2 * math.pi * V)
    process = LearnedDrift(linear, constant)
    for steps, expected in zip((80, 160), gaps, strict=False):
        layout = Layout.dense(20, (n // 20,), dtype=D)
        noise = NoiseSource(steps, range(20))
        with torch.no_grad():
            found = path_bound(process, exact, x0.view(20, -1), grid(steps), layout, noise)
        each = (found - truth.view(20, -1).sum(1)) / (n // 20)
        assert each.mean().item() == pytest.approx(expected, abs=6 * each.std().item() / 20**0.5)


def test_a_wrong_score_costs():
    layout = Layout.dense(1, (4000, 1), dtype=D)
    x0 = V**0.5 * torch.randn(1, 4000, 1, dtype=D, generator=torch.Generator().manual_seed(0))
    process = LearnedDrift(linear, constant)
    right, wrong = (
        path_bound(process, score, x0, grid(160), layout, NoiseSource(0, [0])).item()
        for score in (exact, lambda x, t, layout: 0.8 * exact(x, t, layout))
    )
    assert wrong > right + 40


def gradients(space, shape, steps, replayed):
    drift, score, spread = Field(0), Field(1), Spread()
    process = LearnedDrift(drift, spread, space)
    layout = Layout.dense(5, shape, dtype=D)
    x0 = torch.randn(5, *shape, dtype=D, generator=torch.Generator().manual_seed(2))
    x0 = space.project(x0, layout).requires_grad_()
    noise = NoiseSource(3, range(5))
    found = path_bound(process, score, x0, grid(steps), layout, noise, replayed=replayed)
    after = noise.normal(layout)
    inputs = [x0, *drift.parameters(), *score.parameters(), *spread.parameters()]
    weights = torch.linspace(0.5, 2.0, 5, dtype=D)
    return found, torch.autograd.grad((weights * found).sum(), inputs), after


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize(("space", "shape"), [(Euclidean(), (2,)), (ZeroCoM(), (4, 2))])
def test_the_replayed_gradient_is_that_of_autograd(space, shape, steps):
    one, ours, mine = gradients(space, shape, steps, replayed=True)
    two, theirs, yours = gradients(space, shape, steps, replayed=False)
    assert torch.equal(one, two)
    assert torch.equal(mine, yours)  # the noise goes on where it would
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
        assert b.abs().max() > 0


class Bytes:
    """Bytes of the tensors that graphs hold: those of one at a time, the largest, and in all."""

    def __init__(self):
        self.now = self.most = 0

    def pack(self, x):
        self.now += x.element_size() * x.numel()
        self.most = max(self.most, self.now)
        return x, self

    def unpack(self, packed):
        self.now -= packed[0].element_size() * packed[0].numel()
        return packed[0]


def held(steps, replayed):
    """What is saved between the passes, and the most within them."""
    drift, score, spread = Field(0), Field(1), Spread()
    process, layout = LearnedDrift(drift, spread), Layout.dense(50, (2,), dtype=D)
    x0 = torch.randn(50, 2, dtype=D, generator=torch.Generator().manual_seed(2))
    count = Bytes()
    with torch.autograd.graph.saved_tensors_hooks(count.pack, count.unpack):
        noise = NoiseSource(3, range(50))
        found = path_bound(process, score, x0, grid(steps), layout, noise, replayed=replayed)
        between = count.now
        found.sum().backward()
    return between, count.most


def test_memory_does_not_grow_with_the_number_of_steps():
    (few, most_of_few), (many, most_of_many) = held(4, True), held(32, True)
    assert few == many
    assert most_of_many == most_of_few
    plain, _ = held(32, False)
    assert held(4, False)[0] < plain / 6
    assert plain > 20 * many


def test_the_way_back_ends_at_the_data():
    n, steps = 4000, 200
    process, layout = LearnedDrift(linear, constant), Layout.dense(1, (n,), dtype=D)
    noise = NoiseSource(0, [0])
    x = process.prior(layout).sample(noise)
    states = list(process.restore(x, exact, grid(steps)[::-1], layout, noise))
    assert len(states) == steps
    assert states[-1].var().item() == pytest.approx(V, rel=0.12)


def test_the_forward_step_is_that_of_a_process():
    process, layout = LearnedDrift(Field(0), Spread()), Layout.dense(3, (2,), dtype=D)
    x = torch.randn(3, 2, dtype=D)
    law = process.transition(x, 0.25, 0.75, layout)
    slope = process.drift(x, torch.full((3,), 0.25, dtype=D), layout)
    torch.testing.assert_close(law.mean, x + 0.5 * slope)
    spread = math.exp(0.2) * 1.25 * 0.5**0.5
    torch.testing.assert_close(law.std, torch.full((3,), spread, dtype=D))
    assert {type(m) for m in process.modules()} == {Field, Spread}
    assert len(list(process.simulate(x, grid(4), layout, NoiseSource(0, range(3))))) == 4


@pytest.mark.parametrize("times", [[0.0], [0.0, 0.5], [0.1, 1.0], [0.0, 0.6, 0.6, 1.0]])
def test_a_path_goes_from_the_data_to_the_prior(times):
    process, layout = LearnedDrift(linear, constant), Layout.dense(2, (1,), dtype=D)
    x = torch.zeros(2, 1, dtype=D)
    with pytest.raises(InputError, match="from the data to the prior"):
        path_bound(
            process, exact, torch.zeros(2, 1, dtype=D), times, layout, NoiseSource(0, [0, 1])
        )
    with pytest.raises(InputError, match="decreasing"):
        list(process.restore(x, exact, times, layout, NoiseSource(0, [0, 1])))
