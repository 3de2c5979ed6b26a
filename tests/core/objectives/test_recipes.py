"""Goals by name: what each builds, and the bounds that they train at the settings they are used."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from unnoise.denoise import ByLogSNR, Clean, LearnedVariance, NetworkDenoiser, V
from unnoise.errors import ConfigError
from unnoise.kernels import BetaTable, GaussianKernel, LearnedSchedule, Linear, VPCosine, VPLinear
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    CHAIN,
    VDM,
    Batch,
    LikelihoodWeighted,
    Quantised,
    Simple,
    SimpleWithBound,
    VariationalBound,
    Weighted,
    bound,
    recipe,
)
from unnoise.samplers import Diffusion
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import MixtureOracle, PointEstimate

F64 = torch.float64
LIGHT = 0.2  # share of +1 among the two levels -1 and +1
ENTROPY = -LIGHT * math.log(LIGHT) - (1 - LIGHT) * math.log(1 - LIGHT)
GOALS = ("simple", "min-snr", "likelihood", "vdm", "hybrid")


class Tiny(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.line = nn.Linear(3, 2 * outputs)

    def forward(self, x, label, layout, condition):
        return self.line(torch.cat([x, label[:, None]], 1))


def pixels(n, width=2):
    """Mostly dark pictures of 8 bits, as those of digits are."""
    u = torch.rand(n, width, generator=torch.Generator().manual_seed(0))
    x0 = torch.where(u < LIGHT, 1.0, -1.0)
    return Batch(x0, Layout.dense(n, (width,)))


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("parametrization", [V(), Clean()])
def test_every_goal_builds_a_model_that_trains_and_has_a_bound(goal, parametrization):
    torch.manual_seed(0)
    plan = recipe(goal, VPCosine(), parametrization, Quantised())
    kernel = GaussianKernel(Euclidean(), plan.schedule)
    denoiser = NetworkDenoiser(Tiny(plan.outputs), kernel, plan.parametrization, clip=(-1.0, 1.0))
    data, optimizer = pixels(64), torch.optim.Adam(denoiser.parameters(), 1e-2)
    before = [p.detach().clone() for p in denoiser.parameters()]
    for step in range(2):
        optimizer.zero_grad()
        numbers = range(64 * step, 64 * step + 64)
        plan.objective(denoiser, data, NoiseSource(0, numbers)).mean().backward()
        optimizer.step()
    for old, new in zip(before, denoiser.parameters(), strict=True):
        assert bool(torch.isfinite(new).all())
        assert not torch.equal(old, new)  # those of a learned schedule too
    with torch.no_grad():
        run = Diffusion(denoiser, data.layout, NoiseSource(1, range(64)))
        found = bound(run, data.x0, evaluations=5, data=Quantised())
    assert bool(torch.isfinite(found.total).all())


def test_what_the_goals_are():
    plans = {goal: recipe(goal, VPLinear(), V(), Quantised()) for goal in GOALS}
    kinds = (Simple, Weighted, LikelihoodWeighted, VDM, SimpleWithBound)
    assert tuple(type(plan.objective) for plan in plans.values()) == kinds
    assert plans["likelihood"].objective.times.eps == 1 / CHAIN
    assert plans["vdm"].objective.data == plans["hybrid"].objective.data == Quantised()
    assert isinstance(plans["vdm"].schedule, LearnedSchedule)
    assert isinstance(plans["hybrid"].parametrization, LearnedVariance)
    assert [plan.outputs for plan in plans.values()] == [1, 1, 1, 1, 2]
    assert [plan.exponents for plan in plans.values()] == [(), (), (), (6, 7), ()]
    table = recipe("hybrid", BetaTable.linear(50), V())
    assert (table.objective.steps, table.parametrization.steps) == (50, 50)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_goal_is_refused():
    with pytest.raises(ConfigError, match="no such goal"):
        recipe("beauty", VPCosine(), V())


def test_the_label_follows_the_noise():
    """gamma is linear in t on a schedule that is not trained; 2 log tan of the angle on the cosine
    schedule. State and prediction are those of the parametrization inside."""
    labelled, t = ByLogSNR(V()), torch.tensor([0.1, 0.5, 1.0], dtype=F64)
    straight = GaussianKernel(Euclidean(), LearnedSchedule(None, -13.3, 5.0, ends="fixed"))
    torch.testing.assert_close(labelled.label(straight, t), t)
    assert labelled.label(straight, 0.3) == pytest.approx(0.3)
    cosine = GaussianKernel(Euclidean(), VPCosine(-20.0, 20.0))
    b = math.atan(math.exp(-10))
    gamma = 2 * math.log(math.tan(0.3 * (math.pi / 2 - 2 * b) + b))
    assert labelled.label(cosine, 0.3) == pytest.approx((gamma + 13.3) / 18.3)
    x = torch.randn(3, 2, dtype=F64)
    layout = Layout.dense(3, (2,), dtype=F64)
    assert torch.equal(labelled.inputs(cosine, x, t, layout), x)
    laws = [kind.law(cosine, 2 * x, x, t, layout).mean for kind in (labelled, V())]
    assert torch.equal(*laws)
    with pytest.raises(ConfigError, match="t = 1"):
        labelled.check(GaussianKernel(Euclidean(), Linear()))


def two_levels(schedule):
    """The exact E[x_0 | x_t] of independent entries, -1 with probability .8 and 1 with .2."""
    kernel = GaussianKernel(Euclidean(), schedule)
    weights = torch.tensor([1 - LIGHT, LIGHT])
    means = torch.tensor([[-1.0], [1.0]])
    return PointEstimate(MixtureOracle(kernel, weights, means, torch.full((2,), 1e-9)))


def error_of_two_levels(schedule, t):
    """E Var[x_0 | x_t] by Gauss-Hermite quadrature, 200 nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / weights.sum()
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    total = 0.0
    for x0, p in ((-1.0, 1 - LIGHT), (1.0, LIGHT)):
        x = alpha * x0 + sigma * nodes
        odds = math.log(LIGHT / (1 - LIGHT)) + 2 * alpha * x / sigma**2
        total += p * (weights * (x0 - np.tanh(odds / 2)) ** 2).sum()
    return total


@pytest.mark.parametrize(
    "schedule", [VPCosine(), LearnedSchedule(None, ends="fixed")], ids=["cosine", "linear in SNR"]
)
def test_the_bound_of_8_bit_pixels_at_the_settings_of_the_images(schedule):
    """1000 steps, Quantised(), betatilde: the sum of (SNR_s - SNR_t) E Var / 2, the mass of the
    level's bin and the prior's term, together little above the entropy of the pixels, .5004 nats:
    none of the three settings costs a good model much."""
    snr = [math.exp(schedule.log_snr(i / CHAIN)) for i in range(1, CHAIN + 1)]
    closed = sum(
        0.5 * (snr[i - 1] - snr[i]) * error_of_two_levels(schedule, (i + 1) / CHAIN)
        for i in range(1, CHAIN)
    )
    a, s = schedule.alpha(1.0), schedule.sigma(1.0)
    prior = 0.5 * a**2 / s**2
    # both levels are at an end: of a Gaussian at -1 all but its tail above -1 + 1/255 is the level
    last = schedule.sigma(1 / CHAIN) * (1 - snr[1] / snr[0]) ** 0.5
    bins = -math.log(0.5 * math.erfc(-1 / 255 / last / 2**0.5))
    exact = closed + prior + bins
    assert ENTROPY < exact < 1.02 * ENTROPY
    n = 2000
    data = pixels(n, 1)
    x0, layout = data.x0.double(), Layout.dense(n, (1,), dtype=F64)
    found = bound(
        Diffusion(two_levels(schedule), layout, NoiseSource(0, range(n))),
        x0,
        evaluations=25,
        data=Quantised(),
    )
    error = found.total.std().item() / n**0.5
    assert found.total.mean().item() == pytest.approx(exact, abs=5 * error)
    torch.testing.assert_close(found.reconstruction, 0 * found.total + bins, rtol=1e-3, atol=1e-9)
    assert found.prior[0].item() == pytest.approx(prior, rel=1e-6)


def test_vdm_trains_that_bound():
    """With the exact denoiser its mean is the entropy of the pixels, up to the end points."""
    n = 20_000
    data = pixels(n, 1)
    data = Batch(data.x0.double(), Layout.dense(n, (1,), dtype=F64))
    schedule = LearnedSchedule(None, ends="fixed")
    found = VDM(Quantised())(two_levels(schedule), data, NoiseSource(0, range(n)))
    error = found.std().item() / n**0.5
    # prior: x^2 alpha^2 / 2 at gamma = 5, less what the integral lacks beyond it, half of Var
    assert found.mean().item() == pytest.approx(ENTROPY, abs=4 * error + 0.5 * math.exp(-5.0))
    assert error < 0.03


@pytest.mark.parametrize("steps", [2, 40])
def test_the_last_term_of_an_objective_is_that_of_the_bound(steps):
    """Probabilities of levels: T times the terms of single steps average to the whole bound."""
    n = 2000
    data = pixels(n, 1)
    data = Batch(data.x0.double(), Layout.dense(n, (1,), dtype=F64))
    oracle = two_levels(VPCosine(-6.0, 6.0))
    terms = VariationalBound(steps, Quantised())(oracle, data, NoiseSource(0, range(n)))
    whole = bound(
        Diffusion(oracle, data.layout, NoiseSource(1, range(n))),
        data.x0,
        steps=steps,
        data=Quantised(),
    )
    expected = whole.steps + whole.reconstruction
    error = ((terms.var() + expected.var()) / n).sqrt().item()
    assert terms.mean().item() == pytest.approx(expected.mean().item(), abs=5 * error)
    assert bool(
        (VariationalBound(1, Quantised())(oracle, data, NoiseSource(0, range(n))) > 0).all()
    )
