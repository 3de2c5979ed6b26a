"""Processes without closed marginals: their paths against the numerical solution of the chain.

Statistical tests are seeded; their thresholds have a false-alarm rate below 1e-6 each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

import pytest
import torch
from torch import nn

from unnoise.denoise import Clean, NetworkDenoiser
from unnoise.distributions import Categorical, Dirac, Gaussian
from unnoise.errors import InputError
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    LearnedSchedule,
    MonotoneInterior,
    Process,
    ProductKernel,
    TransitionKernel,
    Uniform,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Euclidean, Layout, Tokens

D = torch.float64


class Drift(nn.Module):
    """f(x) = -a tanh(b x): of no linear process."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(2.0, dtype=D))
        self.b = nn.Parameter(torch.tensor(3.0, dtype=D))

    def forward(self, x):
        return -self.a * torch.tanh(self.b * x)


@final
@dataclass(frozen=True, eq=False)
class Drifting(Process):
    """Euler-Maruyama steps of dx = f(x) dt + g dw (DiffFlow's forward chain)."""

    drift: Drift
    g: float = 0.8
    space: DataSpace = field(default_factory=Euclidean)
    steps = None

    def transition(self, x_s, s, t, layout):
        step = t - s
        return Gaussian(x_s + step * self.drift(x_s), self.g * step**0.5, self.space, layout)

    def prior(self, layout):
        return Gaussian(torch.zeros(layout.shape, dtype=layout.dtype), 0.5, self.space, layout)

    def modules(self):
        return [self.drift]


TIMES = (0.0, 0.1, 0.4, 0.5, 1.0)


def density(process, start, times):
    """The density at times[-1] of a point that starts at `start`, by quadrature of the chain."""
    x = torch.linspace(-6, 6, 1201, dtype=D)
    one, many = Layout.dense(1, dtype=D), Layout.dense(len(x), dtype=D)
    first = process.transition(torch.tensor([start], dtype=D), times[0], times[1], one)
    p = torch.exp(-((x - first.mean) ** 2) / first.std**2 / 2)
    for s, t in pairwise(times[1:]):
        law = process.transition(x, s, t, many)
        move = torch.exp(-((x[None] - law.mean[:, None]) ** 2) / law.std**2 / 2)
        p = (p / p.sum()) @ (move / move.sum(1, keepdim=True))
    return x, p / p.sum()


@torch.no_grad()
def test_a_path_has_the_law_of_the_chain():
    process, n = Drifting(Drift()), 20000
    layout = Layout.dense(n, dtype=D)
    start = torch.full((n,), 1.2, dtype=D)
    path = list(process.simulate(start, TIMES, layout, NoiseSource(0, range(n))))
    assert len(path) == 4
    for k in (1, 2, 3, 4):
        x, p = density(process, 1.2, TIMES[: k + 1])
        mean = (p * x).sum()
        variance = (p * (x - mean) ** 2).sum()
        fourth = (p * (x - mean) ** 4).sum()
        drawn = path[k - 1]
        assert abs(drawn.mean() - mean) < 5 * (variance / n) ** 0.5
        assert abs(drawn.var() - variance) < 5 * ((fourth - variance**2) / n) ** 0.5


def test_states_are_drawn_when_asked_for_and_differentiable():
    process = Drifting(Drift())
    path = process.simulate(torch.ones(1, dtype=D), TIMES, Layout.dense(1), NoiseSource(0, [0]))
    assert torch.equal(
        next(path),
        next(
            iter(
                process.simulate(
                    torch.ones(1, dtype=D),
                    torch.tensor(TIMES, dtype=D),
                    Layout.dense(1),
                    NoiseSource(0, [0]),
                )
            )
        ),
    )
    *_, last = path
    last.sum().backward()
    assert float(process.drift.a.grad) != 0


@pytest.mark.parametrize("times", [(0.0, 1.0), (0.0, 0.3, 0.7, 1.0), (0.25, 0.5, 0.75)])
def test_a_kernels_paths_end_in_its_marginal(times):
    n = 20000
    layout = Layout.product(
        {"x": Layout.dense(n, dtype=D), "c": Layout.dense(n, dtype=torch.int64)}
    )
    kernel = ProductKernel(
        {
            "x": GaussianKernel(Euclidean(), VPCosine()),
            "c": CategoricalKernel(Tokens(4), Absorbing(3)),
        }
    )
    x = {"x": torch.full((n,), 0.7, dtype=D), "c": torch.full((n,), 2)}
    s, t = times[0], times[-1]
    *_, last = kernel.simulate(x, times, layout, NoiseSource(1, range(n)))
    law = kernel.transition(x, s, t, layout) if s > 0 else kernel.marginal(x, t, layout)
    mean, std = law.parts["x"].mean[0], law.parts["x"].std
    assert abs(last["x"].mean() - mean) < 5 * std / n**0.5
    assert abs(last["x"].var() - std**2) < 5 * std**2 * (2 / n) ** 0.5
    share = float((last["c"] == 3).double().mean())
    p = float(law.parts["c"].log_probs[0, 3].exp())
    assert abs(share - p) <= 5 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("times", [(0.5,), (), (0.5, 0.5), (1.0, 0.0), (-0.1, 0.5), (0.5, 1.1)])
def test_a_path_needs_increasing_times(times):
    kernel = GaussianKernel(Euclidean(), VPCosine())
    with pytest.raises(InputError, match="increasing times"):
        kernel.simulate(torch.zeros(1), times, Layout.dense(1), NoiseSource(0, [0]))


def test_what_is_learned_is_found():
    learned = [LearnedSchedule(MonotoneInterior(4)) for _ in range(3)]
    real = GaussianKernel(Euclidean(), learned[0])
    tokens = CategoricalKernel(Tokens(4), Absorbing(3, learned[1]))
    uniform = CategoricalKernel(Tokens(4), Uniform(learned[2]))
    both = ProductKernel({"x": real, "c": tokens, "d": uniform})
    for kernel, own in ((real, learned[:1]), (tokens, learned[1:2]), (both, learned)):
        parameters = {p for module in kernel.modules() for p in module.parameters()}
        assert parameters == {p for module in own for p in module.parameters()}
    fixed = GaussianKernel(Euclidean(), VPLinear())
    assert not list(fixed.modules())
    assert not list(ProductKernel({"x": fixed}).modules())
    assert list(Drifting(Drift()).modules())


def test_what_is_learned_is_the_denoisers():
    schedule = LearnedSchedule(MonotoneInterior(4))
    kernel = GaussianKernel(Euclidean(), schedule)
    denoiser = NetworkDenoiser(nn.Linear(1, 1), kernel, Clean())
    assert list(denoiser.learned) == [schedule]  # not what is inside it once more
    assert set(schedule.parameters()) < set(denoiser.parameters())
    assert len(denoiser.state_dict()) == 2 + len(schedule.state_dict())


class Own(TransitionKernel):
    """Forgets at once: every state is a draw of the prior until time 0."""

    space, steps = Tokens(3), None

    def marginal(self, x0, t, layout):
        return self.prior(layout)

    def transition(self, x_s, s, t, layout):
        return self.prior(layout)

    def reverse(self, x_t, x0, t, s, layout):
        return x0 if s == 0 else self.prior(layout)

    def prior(self, layout):
        return Categorical.from_logits(torch.zeros(*layout.shape, 3, dtype=D), layout)

    def reconstruction(self, x_t, x0, t, layout):
        return x0


def test_a_bridge_is_reverse_where_there_is_no_choice():
    layout = Layout.dense(2, dtype=torch.int64)
    x, point = torch.tensor([0, 2]), Dirac(torch.tensor([1, 1]), layout)
    assert Own().bridge(x, point, 0.5, 0.0, layout, 0.3) is point
    kernel = CategoricalKernel(Tokens(3), Uniform())
    for eta in (0.0, 0.5, 1.0):
        bridge = kernel.bridge(x, point, 0.5, 0.2, layout, eta)
        assert bridge.log_probs.equal(kernel.reverse(x, point, 0.5, 0.2, layout).log_probs)
