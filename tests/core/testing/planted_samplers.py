"""Samplers, each with one mistake planted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from unnoise.denoise import Energy
from unnoise.distributions import Dirac, Gaussian
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, Sampler, Step, intervals
from unnoise.spaces import Layout


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


class Unconditioned(Euler):
    """Asks the denoiser itself, without the condition."""

    def __call__(self, run, x, grid):
        self.check(run.kernel)
        for t, s in intervals(grid):
            law = run.denoiser(x, t, run.layout)
            run(x, t)
            x = self.step(run.kernel, x, law, t, s, run.layout, run.noise)
            sent = yield Step(s, x, law)
            x = self.after(x, sent)


class FirstCondition(Euler):
    """The first row's condition for all."""

    def __call__(self, run, x, grid):
        self.check(run.kernel)
        told = run.condition and {n: v[:1].expand(v.shape) for n, v in run.condition.items()}
        own = Diffusion(run.denoiser, run.layout, run.noise, told)
        yield from super().__call__(own, x, grid)


class Uncounted(Euler):
    """Calls that the run does not see."""

    def __call__(self, run, x, grid):
        self.check(run.kernel)
        for t, s in intervals(grid):
            law = run.denoiser(x, t, run.layout, run.condition)
            x = self.step(run.kernel, x, law, t, s, run.layout, run.noise)
            sent = yield Step(s, x, law)
            x = self.after(x, sent)


class LastHalf(Euler):
    """Says 0 at the end, and stands still on the last interval."""

    def step(self, kernel, x, law, t, s, layout, noise):
        return x if s == 0 else super().step(kernel, x, law, t, s, layout, noise)


class OtherStream(Euler):
    @property
    def stochastic(self):
        return True

    def begin(self):
        self.count = 0

    def step(self, kernel, x, law, t, s, layout, noise):
        own = NoiseSource(noise.seed, noise.ids, int(1000 * t) + 2)
        return kernel.reverse(x, law, t, s, layout).sample(own)


class Scratch(Euler):
    """One tensor for all states."""

    def __call__(self, run, x, grid):
        self.check(run.kernel)
        x = x.clone()
        for t, s in intervals(grid):
            law = run(x, t)
            x.copy_(self.step(run.kernel, x, law, t, s, run.layout, run.noise))
            sent = yield Step(s, x, law)
            if sent is not None:
                x.copy_(sent)


@dataclass(frozen=True)
class Stochastic(Euler):
    """Of order 2, it says; and with eta = 0 it draws nothing."""

    eta: float = 1.0
    order = 2

    @property
    def stochastic(self):
        return self.eta > 0

    def step(self, kernel, x, law, t, s, layout, noise):
        back = kernel.bridge(x, Dirac(law.mean, layout), t, s, layout, self.eta)
        return back.sample(noise) if self.eta else back.mean


class Beyond(Euler):
    """Looks at the denoiser once more, at time 0."""

    evaluations = 2

    def step(self, kernel, x, law, t, s, layout, noise):
        return super().step(kernel, x, law, t, s, layout, noise)

    def __call__(self, run, x, grid):
        for step in super().__call__(run, x, grid):
            run(step.x, max(step.t, 0.0))
            sent = yield step
            assert sent is None


class NumpyNoise(Euler):
    @property
    def stochastic(self):
        return True

    def step(self, kernel, x, law, t, s, layout, noise):
        back = kernel.reverse(x, law, t, s, layout)
        z = torch.as_tensor(np.random.standard_normal(back.mean.shape))
        return back.mean + back.scale * z


class Padded(Euler):
    """Moves all entries to the mean of what the tensor holds."""

    def step(self, kernel, x, law, t, s, layout, noise):
        x = super().step(kernel, x, law, t, s, layout, noise)
        return x - 1e-3 * t * (x.mean() - 1) if s > 0 else x


class RowsAreSamples(Euler):
    """One number a row, in the place of one a sample."""

    @property
    def stochastic(self):
        return True

    def step(self, kernel, x, law, t, s, layout, noise):
        back = kernel.reverse(x, law, t, s, layout)
        if layout.index is None:
            return back.sample(noise)
        own = NoiseSource(noise.seed, range(len(x)), int(100 * t))
        return back.mean + back.scale * own.normal(Layout.dense(len(x), x.shape[1:], dtype=x.dtype))


class Skipping(Euler):
    """Two intervals at once, and both are reported."""

    def __call__(self, run, x, grid):
        self.check(run.kernel)
        times = grid.tolist()
        for t, s in zip(times[:-1:2], times[2::2], strict=True):
            law = run(x, t)
            x = self.step(run.kernel, x, law, t, s, run.layout, run.noise)
            yield Step(s, x, law)
            yield Step(s, x, law)


class Reading(Euler):
    """Reads the global state to decide."""

    @property
    def stochastic(self):
        return True

    def step(self, kernel, x, law, t, s, layout, noise):
        back = kernel.reverse(x, law, t, s, layout)
        return back.sample(noise) + 1e-3 * (torch.initial_seed() % 7)


class AnyDenoiser(Euler):
    """Says that it asks an energy, and takes whatever comes."""

    denoiser = Energy


class PastTheRun(AnyDenoiser):
    """Langevin's steps whose scores the run does not count."""

    @property
    def stochastic(self):
        return True

    def __call__(self, run, x, grid):
        self.check_denoiser(run.denoiser)
        for t, s in intervals(grid):
            law = run(x, t)
            score = run.denoiser.score(x, t, run.layout, run.condition)
            x = x + 0.05 * score + 0.1**0.5 * run.normal()
            yield Step(s, x, law)


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
    ("the condition dropped", "condition_is_passed_on", Unconditioned()),
    ("the first row's condition for all", "condition_is_passed_on", FirstCondition()),
    ("calls past the run", "run_counts_and_draws", Uncounted()),
    ("still on the last interval", "known_data_are_reached", LastHalf()),
    ("noise from a stream of its own", "run_counts_and_draws", OtherStream()),
    ("one tensor for all states", "nothing_else_changes", Scratch()),
    ("an order that its deterministic setting has not", "order_of_convergence", Stochastic()),
    ("asked at time 0", "run_counts_and_draws", Beyond()),
    ("global numbers of numpy", "nothing_else_changes", NumpyNoise()),
    ("a mean over padding", "padding_is_ignored", Padded()),
    ("rows taken for samples", "ragged_batches", RowsAreSamples()),
    ("every second time left out", "a_step_per_interval", Skipping()),
    ("the global seed read", "nothing_else_changes", Reading()),
    ("no check of the denoiser", "incompatible_kernels_are_refused", AnyDenoiser()),
    ("scores that the run does not count", "run_counts_and_draws", PastTheRun()),
]
