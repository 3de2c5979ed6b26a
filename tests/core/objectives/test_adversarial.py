"""Denoising diffusion GANs: the two losses, R1 and the chain, against closed forms."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from unnoise.denoise import Generator, NetworkDenoiser, V
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import VE, GaussianKernel, Linear, VPCosine, VPLinear, coarse
from unnoise.noise import NoiseSource
from unnoise.objectives import Adversarial, Batch, Elapsed, Networks, gradient_penalty
from unnoise.samplers import Ancestral, Diffusion, grids
from unnoise.spaces import Euclidean, Layout, ZeroCoM

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from adversarial import Together, ddpm, drawn, gan, quality

D = torch.float64
N = 400


class Exact(nn.Module):
    """x_0 ~ p(x_0 | x_t) for data N(0, v), of z alone and the state."""

    def __init__(self, schedule, v=0.25, gain=1.0):
        super().__init__()
        self.schedule, self.v = schedule, v
        self.gain = nn.Parameter(torch.tensor(gain, dtype=D))

    def forward(self, x, label, layout, condition):
        alpha, sigma = (f(label.double()) for f in (self.schedule.alpha, self.schedule.sigma))
        total = alpha**2 * self.v + sigma**2
        mean = layout.expand(alpha * self.v / total, x) * x
        return mean + self.gain * layout.expand(sigma * (self.v / total) ** 0.5, x) * condition["z"]


class Judge(nn.Module):
    """A quadratic function of x_s: its gradient is known."""

    def __init__(self, curve=0.0):
        super().__init__()
        self.curve = nn.Parameter(torch.tensor(curve, dtype=D))
        self.line = nn.Parameter(torch.zeros((), dtype=D))

    def forward(self, x_s, x_t, label, layout, condition):
        return layout.sum(self.curve * x_s**2 / 2 + self.line * x_s * x_t)


class Twice(Judge):
    def forward(self, *told):
        return super().forward(*told)[:, None].expand(-1, 2)


def networks(judge, schedule, gain=1.0, **options):
    objective = Adversarial(judge, schedule.steps or 4, **options)
    denoiser = Generator(Exact(schedule, gain=gain), GaussianKernel(Euclidean(), schedule), 1)
    return objective, Networks(denoiser, None, objective.others())


def batch(n=N):
    x0 = 0.5 * torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=D)
    return Batch(x0, Layout.dense(n, (1,), dtype=D))


def loss(objective, own, number, step=1, data=None):
    data = batch() if data is None else data
    noise = NoiseSource(number, range(data.layout.batch))
    return objective.turns(own)[number].loss(own, data, noise, Elapsed(step, 100))


@pytest.mark.parametrize(
    ("eps", "betas"),
    [
        (1e-3, (0.4782553, 0.849206, 0.9564177, 0.9874039)),
        (0.0, (0.4763203, 0.8490226, 0.956473, 0.9874511)),
    ],
)
def test_the_betas_of_four_steps(eps, betas):
    assert coarse(4, eps=eps).betas == pytest.approx(betas, abs=6e-8)
    # the chain keeps what the schedule keeps, from eps on
    fine, two = VPLinear(), coarse(2, eps=eps)
    kept = (fine.alpha(1.0) / fine.alpha(eps)) if eps else fine.alpha(1.0)
    assert two.alpha(1.0) == pytest.approx(kept, rel=1e-9)
    assert coarse(3, VPCosine()).steps == 3


@pytest.mark.parametrize("arguments", [(0,), (4, VPLinear(), 1.0), (4, VE()), (4, Linear())])
def test_chains_that_are_none(arguments):
    with pytest.raises(ConfigError):
        coarse(*arguments)


def test_an_undecided_discriminator_costs_twice_log_2():
    objective, own = networks(Judge(), coarse(4))
    for number, expected in ((0, math.log(2)), (1, 2 * math.log(2))):
        torch.testing.assert_close(
            loss(objective, own, number), torch.full((N,), expected, dtype=D)
        )


def test_against_the_exact_generator_no_discriminator_learns():
    """E softplus(-D(x_s)) + softplus(D(x_s')) has the gradient 0 in every direction of D at D = 0
    when both pairs have one law, and not when the generator's spread is wrong."""
    found = {}
    for gain in (1.0, 0.0):
        judge = Judge()
        objective, own = networks(judge, coarse(4), gain=gain)
        data = batch(20_000)
        each = loss(objective, own, 1, data=data)
        mean = torch.stack(torch.autograd.grad(each.mean(), [judge.curve, judge.line]))
        found[gain] = mean.abs().max().item()
    # (x_s'^2 - x_s^2) / 4 of one sample has a standard deviation below .25
    assert found[1.0] < 5 * 0.25 / 20_000**0.5 < 0.01
    assert found[0.0] > 0.015


def test_r1_is_the_square_of_the_gradient():
    """D = c x^2 / 2: the penalty is |c x|^2 and its gradient in c is 2 c |x|^2; and so it is by
    autograd through a network."""
    judge = Judge(curve=0.7)
    denoiser = Generator(Exact(coarse(4)), GaussianKernel(Euclidean(), coarse(4)), 1)
    data = batch()
    x = data.x0.clone().requires_grad_()
    judged = judge(x, x.detach(), None, data.layout, None)
    found = gradient_penalty(judged, x, data, denoiser)
    torch.testing.assert_close(found, (0.7 * data.x0[:, 0]) ** 2)
    (slope,) = torch.autograd.grad(found.sum(), judge.curve)
    assert slope.item() == pytest.approx(2 * 0.7 * (data.x0**2).sum().item())

    net = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    penalty = gradient_penalty(net(x)[:, 0], x, data, denoiser).sum()
    ours = torch.autograd.grad(penalty, net[0].weight)[0]
    jacobian = torch.func.vmap(torch.func.grad(lambda v, w: _net(net, w, v)), (0, None))
    theirs = torch.func.grad(lambda w: (jacobian(data.x0, w) ** 2).sum())(net[0].weight.detach())
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def _net(net, weight, x):
    values = {**dict(net.named_parameters()), "0.weight": weight}
    return torch.func.functional_call(net, values, (x,))[0]


def test_r1_is_lazy():
    judge = Judge(curve=1.0)
    objective, own = networks(judge, coarse(4), weight=2.0, every=3)
    none, _ = networks(judge, coarse(4), weight=0.0)
    base = loss(none, own, 1)
    for step in range(6):
        differs = not torch.equal(loss(objective, own, 1, step), base)
        assert differs == (step % 3 == 0)
    usual = Adversarial(judge)
    assert (usual.weight, usual.every, usual.steps) == (0.02, 15, 4)


def test_r1_knows_the_directions_of_a_space():
    """Moving all points of a cloud together is no direction of clouds without a centre."""
    space = ZeroCoM()
    kernel = GaussianKernel(space, coarse(4))
    x = space.project(torch.randn(6, 3, 2, dtype=D), Layout.dense(6, (3, 2), dtype=D))
    data = Batch(x, space.layout(x))
    x = data.x0.clone().requires_grad_()
    judged = data.layout.sum(3.0 * x)  # the sum of all coordinates
    found = gradient_penalty(judged, x, data, Generator(nn.Identity(), kernel, 1))
    torch.testing.assert_close(found, torch.zeros_like(found))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_exact_generator_has_the_variance_of_the_data(steps):
    schedule = coarse(4)
    denoiser = Generator(Exact(schedule), GaussianKernel(Euclidean(), schedule), 1)
    n = 20_000
    run = Diffusion(denoiser, Layout.dense(n, (1,), dtype=D), NoiseSource(0, range(n)))
    x = denoiser.kernel.prior(run.layout).sample(run.noise)
    for step in Ancestral()(run, x, grids.uniform(denoiser.kernel, steps)):
        x = step.x
    assert run.evaluations == steps
    assert x.var().item() == pytest.approx(0.25, abs=5 * 0.25 * (2 / n) ** 0.5)


def test_the_generator_learns_its_spread():
    """Both turns by hand on data N(0, 1/4), from half the spread: the quadratic discriminator
    brings the gain to 1."""
    judge = Judge()
    objective, own = networks(judge, coarse(2), gain=0.3)
    turns = objective.turns(own)
    sides = [list(turn.parameters(own).values()) for turn in turns]
    optimizers = [torch.optim.Adam(s, lr=0.03, betas=(0.5, 0.9)) for s in sides]
    for step in range(150):
        for number, (side, optimizer) in enumerate(zip(sides, optimizers, strict=True)):
            noise = Together(2 * step + number, N)
            value = turns[number].loss(own, batch(), noise, Elapsed(step, 150)).mean()
            for p, grad in zip(
                side, torch.autograd.grad(value, side, allow_unused=True), strict=True
            ):
                p.grad = grad
            optimizer.step()
    assert own.denoiser.network.gain.item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("judge", [nn.Flatten(), Judge().requires_grad_(False)])
def test_a_discriminator_learns(judge):
    objective, own = networks(judge, coarse(2))
    with pytest.raises(ConfigError, match="no discriminator that learns") as caught:
        objective.turns(own)
    assert caught.value.value == type(judge).__name__


def test_turns_have_their_own_parts_rates_and_betas():
    objective, own = networks(Judge(), coarse(4), rate=0.5, betas=(0.0, 0.9))
    one, two = objective.turns(own)
    assert (one.name, two.name) == ("", "discriminator")
    assert {id(p) for p in one.parameters(own).values()} == {
        id(p) for p in own.denoiser.parameters()
    }
    assert list(two.parameters(own)) == ["others.discriminator.curve", "others.discriminator.line"]
    assert [two.rate(name) for name in two.parameters(own)] == [0.5, 0.5]
    assert one.options == two.options == {"betas": (0.0, 0.9)}


def test_what_does_not_fit_is_refused():
    kernel = GaussianKernel(Euclidean(), coarse(4))
    with pytest.raises(ConfigError, match="draw from"):
        Generator(nn.Identity(), kernel, 0)
    with pytest.raises(ConfigError, match="is a Generator"):
        Adversarial(Judge()).turns(Networks(NetworkDenoiser(nn.Linear(1, 1), kernel, V())))
    with pytest.raises(ConfigError, match="another chain"):
        Adversarial(Judge(), 3).turns(Networks(Generator(Exact(coarse(4)), kernel, 1)))
    with pytest.raises(ConfigError, match="R1"):
        Adversarial(Judge(), weight=-1.0)
    objective, own = networks(Twice(), coarse(4))
    with pytest.raises(ConfigError, match="one number per sample"):
        loss(objective, own, 0)
    law = Generator(Exact(coarse(4)), kernel, 1)(batch().x0, 0.5, batch().layout)
    with pytest.raises(InputError, match="implicit law"):
        _ = law.mean


@pytest.mark.slow
def test_25_modes_at_4_evaluations():
    """Where the mean of the same network, in as many evaluations, finds few. Minutes."""
    modes, near = quality(drawn(gan(4000), 5000, 4))
    few, less = quality(drawn(ddpm(2000), 5000, 4))
    assert modes == 25
    assert few < 15
    assert near > less + 0.1
