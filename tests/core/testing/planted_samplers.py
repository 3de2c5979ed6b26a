"""Samplers and denoisers, each with one mistake planted."""

from __future__ import annotations

import torch
from torch import nn

from unnoise.denoise import Clean, NetworkDenoiser
from unnoise.distributions import Dirac, Gaussian
from unnoise.kernels import GaussianKernel, TransitionKernel, VPLinear
from unnoise.samplers import Sampler, Step, intervals
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import Example


class Euler(Sampler):
    """DDIM, written down again so that mistakes can be planted."""

    requires = GaussianKernel

    @property
    def stochastic(self):
        return False

    def __call__(self, run, x, grid):
        self.check(run.kernel)
        self.begin()
        for t, s in self.pairs(grid):
            law = run(x, t)
            x = self.step(run.kernel, x, law, t, s, run.layout, run.noise)
            sent = yield Step(s, x, law)
            x = self.after(x, sent)

    def begin(self): ...

    def pairs(self, grid):
        return intervals(grid)

    def step(self, kernel, x, law, t, s, layout, noise):
        return kernel.bridge(x, Dirac(law.mean, layout), t, s, layout, 0.0).mean

    def after(self, x, sent):
        return x if sent is None else sent


class HistoryOnSelf(Euler):
    def begin(self):
        self.history = []

    def step(self, kernel, x, law, t, s, layout, noise):
        own = 1.5 * law.mean - 0.5 * self.history[-1] if self.history else law.mean
        self.history.append(law.mean)
        return kernel.bridge(x, Dirac(own, layout), t, s, layout, 0.0).mean


class TooMuchNoise(Euler):
    @property
    def stochastic(self):
        return True

    def step(self, kernel, x, law, t, s, layout, noise):
        back = kernel.reverse(x, law, t, s, layout)
        return Gaussian(back.mean, 1.3 * back.std, kernel.space, layout).sample(noise)


class OrderTwo(Euler):
    order = 2


class AnyKernel(Euler):
    def check(self, kernel: TransitionKernel) -> None: ...

    def step(self, kernel, x, law, t, s, layout, noise):
        return kernel.reverse(x, law, t, s, layout).mode


class GlobalNoise(Euler):
    @property
    def stochastic(self):
        return True

    def step(self, kernel, x, law, t, s, layout, noise):
        back = kernel.reverse(x, law, t, s, layout)
        return back.mean + back.scale * torch.randn_like(back.mean)


class NoGradient(Euler):
    def step(self, kernel, x, law, t, s, layout, noise):
        with torch.no_grad():
            return super().step(kernel, x, law, t, s, layout, noise)


class DeafToSent(Euler):
    def after(self, x, sent):
        return x


class NoiseOfTheBatch(Euler):
    @property
    def stochastic(self):
        return True

    def step(self, kernel, x, law, t, s, layout, noise):
        back = kernel.reverse(x, law, t, s, layout)
        own = torch.Generator().manual_seed(noise.seed)
        return back.mean + back.scale * torch.randn(back.mean.shape, generator=own).to(x)


class OneStepShort(Euler):
    def pairs(self, grid):
        return list(intervals(grid))[:-1]


class InPlace(Euler):
    def step(self, kernel, x, law, t, s, layout, noise):
        return x.copy_(super().step(kernel, x, law, t, s, layout, noise))


class SecretNoise(Euler):
    def step(self, kernel, x, law, t, s, layout, noise):
        return kernel.reverse(x, law, t, s, layout).sample(noise)


class TwoCalls(Euler):
    def __call__(self, run, x, grid):
        for step in super().__call__(run, x, grid):
            run(step.x, max(step.t, 0.01))
            sent = yield step
            assert sent is None


SAMPLERS = [
    ("history kept on self", "interleaved_runs", HistoryOnSelf()),
    ("too much noise in each step", "recovers_the_data", TooMuchNoise()),
    ("an order that it does not have", "order_of_convergence", OrderTwo()),
    ("no check of the kernel", "incompatible_kernels_are_refused", AnyKernel()),
    ("global random numbers", "nothing_else_changes", GlobalNoise()),
    ("gradients cut inside", "runs_are_differentiable", NoGradient()),
    ("what is sent back ignored", "sent_states_are_used", DeafToSent()),
    ("noise drawn for the batch", "samples_do_not_depend_on_the_batch", NoiseOfTheBatch()),
    ("last step left out", "a_step_per_interval", OneStepShort()),
    ("starting state overwritten", "nothing_else_changes", InPlace()),
    ("noise that is not declared", "noise_as_declared", SecretNoise()),
    ("two calls, one declared", "evaluations_as_declared", TwoCalls()),
]


class Network(nn.Module):
    """x_0 from x_t and the label, position by position."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, x, label, layout, condition):
        told = label.view(-1, *(1,) * (x.ndim - 1)).expand(x.shape)
        return self.net(torch.stack((x, told), -1))[..., 0]


class OfTheBatch(Network):
    def forward(self, x, label, layout, condition):
        return super().forward(x, label, layout, condition) - x.mean(0)


class FirstTime(Network):
    def forward(self, x, label, layout, condition):
        return super().forward(x, label[:1].expand(len(x)), layout, condition)


class Dropping(Network):
    def forward(self, x, label, layout, condition):
        return nn.functional.dropout(super().forward(x, label, layout, condition), 0.2)


class Detached(Network):
    def forward(self, x, label, layout, condition):
        return super().forward(x, label, layout, condition).detach()


class PaddingSeen(Network):
    def forward(self, x, label, layout, condition):
        return super().forward(x, label, layout, condition) + x.mean(1, keepdim=True)


def denoiser(network: type[nn.Module]) -> NetworkDenoiser:
    """A network without training, under VP."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NetworkDenoiser(network(), GaussianKernel(Euclidean(), VPLinear()), Clean())


def padded() -> Layout:
    return Layout.dense(3, (5,), mask=torch.arange(5) < torch.tensor([[3], [5], [4]]))


DENOISERS = [
    ("mean of the batch", "samples_do_not_see_each_other", denoiser(OfTheBatch)),
    ("the first sample's time for all, in the network", "times_per_sample", denoiser(FirstTime)),
    ("dropout in evaluation", "calls_repeat", denoiser(Dropping)),
    ("output detached", "gradients_reach_the_weights", denoiser(Detached)),
    (
        "padding seen",
        "padding_does_not_matter",
        Example(denoiser(PaddingSeen), {"layout": padded()}),
    ),
]
