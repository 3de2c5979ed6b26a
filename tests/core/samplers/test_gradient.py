"""Gradients through a walk, with and without checkpoints: the same number, in less memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from unnoise.denoise import ClassifierGuided, Clean, Denoiser, NetworkDenoiser
from unnoise.discovery.builtin import unnoise_samplers
from unnoise.discovery.registry import resolve
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    DDIM,
    DEIS,
    EDM,
    Ancestral,
    Checkpointed,
    Diffusion,
    Observation,
    Plain,
    PredictorCorrector,
    RePaint,
    Restart,
    SASolver,
    Start,
    UniPC,
    Warmup,
    grids,
    walk,
)
from unnoise.spaces import Euclidean, Layout

F = torch.float64
KERNEL = GaussianKernel(Euclidean(), VPLinear())
STEPS = 7
LAYOUT = Layout.dense(2, (3,), dtype=F)
GRID = grids.uniform(KERNEL, STEPS)
SEGMENTS = (1, 2, 3, STEPS, 50)
ALL = [resolve(spec)() for spec in unnoise_samplers() if spec.name != "restart"]
SAMPLERS = [s for s in ALL if s.fits(KERNEL) and s.denoiser is Denoiser]
SAMPLERS += [
    DDIM(eta=1.0),
    EDM(churn=3.0),
    PredictorCorrector(corrections=2),
    SASolver(0.5, 2, 0),
    Restart(UniPC(), ((0.2, 0.6, 2),)),
    UniPC(3, warmup=Warmup.FULL),
    DEIS(4, "rho", Warmup.FULL),
]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).double()
        self.calls = 0

    def forward(self, x, label, layout, condition):
        self.calls += 1
        return self.layers(torch.cat([x, label.double()[:, None]], 1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return NetworkDenoiser(Net(), KERNEL, Clean())


@pytest.fixture(scope="module")
def start():
    return KERNEL.prior(LAYOUT).sample(NoiseSource(1, range(2)))


def end(sampler, model, x, memory=Plain(), observation=None, grid=GRID):  # noqa: B008
    run = Diffusion(model, LAYOUT, NoiseSource(3, range(2)))
    *_, last = walk(sampler, run, x, grid, observation, memory)
    return last.x


def gradients(sampler, model, x, memory=Plain(), observation=None):  # noqa: B008
    """Of a function of the end: in the start, and in the weights."""
    x = x.clone().requires_grad_()
    value = end(sampler, model, x, memory, observation)
    return torch.autograd.grad((value**2).sum(), [x, *model.parameters()])


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_the_derivative_is_the_same_in_any_segments_and_right(sampler, model, start):
    direction = torch.tensor([[0.3, -1.0, 0.5], [1.0, 0.2, -0.4]], dtype=F)
    plain = gradients(sampler, model, start)
    for segment in SEGMENTS:
        for a, b in zip(
            plain, gradients(sampler, model, start, Checkpointed(segment)), strict=True
        ):
            assert torch.equal(a, b)
    with torch.no_grad():  # the noise is pinned by its seed
        h = 1e-5
        sides = [(end(sampler, model, start + s * h * direction) ** 2).sum() for s in (1, -1)]
    finite = (sides[0] - sides[1]) / (2 * h)
    rough = 0.05 if sampler.evaluations == 0 else 1e-6  # steps that depend on the state
    torch.testing.assert_close((plain[0] * direction).sum(), finite, rtol=rough, atol=rough)


@pytest.mark.parametrize("sampler", [Ancestral(), PredictorCorrector(), EDM(churn=2.0)], ids=repr)
def test_observations_and_jumps(sampler, model, start):
    known = Observation(torch.zeros(2, 3, dtype=F), torch.tensor([True, False, False]))
    for method in (known, replace(known, method=RePaint(2, 2))):
        plain = gradients(sampler, model, start, observation=method)
        for segment in (1, 3):
            kept = gradients(sampler, model, start, Checkpointed(segment), method)
            assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))


def test_half_a_walk_from_a_start(model):
    """What purification does: diffuse to t, walk back."""
    clean = torch.ones(2, 3, dtype=F, requires_grad=True)
    found = []
    for memory in (Plain(), Checkpointed(2)):
        noise = NoiseSource(4, range(2))
        x = Start(clean, 0.5).state(KERNEL, LAYOUT, noise)
        run = Diffusion(model, LAYOUT, noise)
        *_, last = walk(Ancestral(), run, x, grids.uniform(KERNEL, 5, 0.5), memory=memory)
        found.append(torch.autograd.grad(last.x.sum(), clean)[0])
    assert torch.equal(*found)


def test_second_derivatives_and_two_backward_passes(model, start):
    found = []
    for memory in (Plain(), Checkpointed(3)):
        x = start.clone().requires_grad_()
        value = (end(PredictorCorrector(), model, x, memory) ** 2).sum()
        (first,) = torch.autograd.grad(value, x, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), x, retain_graph=True)
        (again,) = torch.autograd.grad(value, x)
        found.append((first.detach(), second, again))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_guidance_by_a_gradient_of_its_own(model, start):
    def log_prob(x, t, layout, condition):
        return -(model.network.layers(torch.cat([x, x[:, :1]], 1)) ** 2).sum(1)

    guided = ClassifierGuided(model, 0.5, log_prob)
    plain = gradients(DDIM(), guided, start)
    for segment in (1, 3):
        kept = gradients(DDIM(), guided, start, Checkpointed(segment))
        assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))


def test_dropout_is_the_same_again(start):
    torch.manual_seed(0)
    net = Net()
    net.layers.insert(2, nn.Dropout(0.5))
    model = NetworkDenoiser(net, KERNEL, Clean())
    found = []
    for memory in (Plain(), Checkpointed(2)):
        torch.manual_seed(5)
        found.append(gradients(DDIM(), model, start, memory)[0])
    assert torch.equal(*found)


def test_every_evaluation_is_made_twice_and_counted_once(model, start):
    for memory, factor in ((Plain(), 1), (Checkpointed(1), 2), (Checkpointed(4), 2)):
        model.network.calls = 0
        run = Diffusion(model, LAYOUT, NoiseSource(3, range(2)))
        x = start.clone().requires_grad_()
        *_, last = walk(PredictorCorrector(), run, x, GRID, memory=memory)
        last.x.sum().backward()
        assert model.network.calls == factor * 2 * STEPS
        assert run.evaluations == 2 * STEPS
    with torch.no_grad():
        model.network.calls = 0
        end(DDIM(), model, start, Checkpointed())
        assert model.network.calls == STEPS


class Turning(Denoiser):
    """A denoiser that is another one whenever it is called."""

    def __init__(self):
        super().__init__()
        self.kernel, self.count = KERNEL, 0

    def forward(self, x_t, t, layout, condition=None):
        self.count += 1
        return Dirac(torch.sin(x_t) if self.count < 5 else torch.tanh(x_t).exp(), layout)


def test_what_cannot_be_made_again_is_said(model, start):
    with pytest.raises(ConfigError, match="at least one"):
        Checkpointed(0)
    x = start.clone().requires_grad_()
    with pytest.raises(ConfigError, match="something else"):
        end(DDIM(), Turning(), x, Checkpointed(), grid=grids.uniform(KERNEL, 4)).sum().backward()
    run = Diffusion(model, LAYOUT, NoiseSource(3, range(2)))
    asked = start + x
    law = Checkpointed().over(run)(asked, 0.5)
    asked.mul_(2.0)
    with pytest.raises(ConfigError, match="overwritten"):
        law.mean.sum().backward()


def test_memory():
    """40 steps of a network whose activations take 2 MB a step: what autograd keeps, in bytes."""

    class Net(torch.nn.Module):
        def forward(self, x, label, layout, condition):
            h = x.repeat(1, 128)
            for _ in range(4):
                h = torch.tanh(h)
            return h.view(*x.shape, 128).mean(-1)

    kernel = GaussianKernel(Euclidean(), VPLinear())
    layout = Layout.dense(4, (256,))
    model = NetworkDenoiser(Net(), kernel, Clean())

    def kept(memory) -> int:
        noise, seen = NoiseSource(0, range(4)), {}

        def pack(x):
            seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        x = kernel.prior(layout).sample(noise).requires_grad_()
        run = Diffusion(model, layout, noise)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            *_, last = walk(Ancestral(), run, x, grids.uniform(kernel, 40), memory=memory)
        last.x.sum().backward()
        return sum(seen.values())

    plain = kept(Plain())
    assert plain > 40 * 4 * 4 * 256 * 128 * 4 * 0.9
    assert kept(Checkpointed(1)) < 0.1 * plain
    assert kept(Checkpointed(5)) < 0.1 * plain
