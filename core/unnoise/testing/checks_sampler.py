"""What a `Sampler` is checked for, on denoisers that know the data's law exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Final, final

import numpy as np
import torch

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Distribution
from unnoise.errors import IncompatibleSampler
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    TransitionKernel,
    Uniform,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, Sampler, Step, grids
from unnoise.spaces import Layout, State, Time, Tokens, tensor
from unnoise.testing.examples import example_layout
from unnoise.testing.ode_problem import VP, even_grid, ode_problem, start_points
from unnoise.testing.oracles import GaussianOracle, PmfOracle, PointEstimate
from unnoise.testing.report import CheckFailed, Skip, require, within
from unnoise.testing.statistics import hoeffding

_DRAWS: Final = 2048
_STEPS: Final = 64  # of the runs that recover a law: their error of discretisation is allowed
_MEAN, _STD = 0.5, 0.6  # of the Gaussian data
_PMF: Final = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.25, 0.03], [0.10, 0.05, 0.15]])


@final
@dataclass(frozen=True, eq=False)
class SamplerCase:
    """A sampler, and a denoiser to run it on where the kit has none for its kernel."""

    sampler: Sampler
    given: Denoiser | None
    layout: Layout | None
    seed: int

    @property
    def denoisers(self) -> list[Denoiser]:
        """The exact denoisers that it runs on, each of a kernel of another kind."""
        if self.given is not None:
            return [self.given]
        found = [d for d in _oracles() if _fits(self.sampler, d.kernel)]
        if not found:
            raise Skip(
                f"the kit has no denoiser for a {self.sampler.requires.__name__}; pass denoiser="
            )
        return found

    def batch(self, denoiser: Denoiser, n: int) -> Layout:
        """The layout of n samples."""
        if self.layout is not None:
            if self.layout.batch < n:
                raise Skip(f"`layout` has fewer than {n} samples")
            return self.layout.take(torch.arange(n))[0]
        if self.given is not None:
            return example_layout(denoiser.kernel.space, n)
        if isinstance(denoiser.kernel.space, Tokens):
            return Layout.dense(n, (2,), dtype=torch.int64)
        return Layout.dense(n, (32,), dtype=torch.float64)  # Langevin steps rely on norms

    def steps(
        self,
        denoiser: Denoiser,
        n: int,
        *,
        steps: int = 8,
        seed: int | None = None,
        first: int = 0,
        x: State | None = None,
    ) -> Iterator[Step]:
        """A run of samples `first` .. first + n - 1, from the prior of `self.seed`."""
        layout = self.batch(denoiser, n)
        ids = range(first, first + n)
        x = denoiser.kernel.prior(layout).sample(NoiseSource(self.seed, ids)) if x is None else x
        noise = NoiseSource(self.seed + 1 if seed is None else seed, ids)
        grid = grids.uniform(denoiser.kernel, min(steps, denoiser.kernel.steps or steps))
        return self.sampler(Diffusion(denoiser, layout, noise), x, grid)

    def run(self, denoiser: Denoiser, n: int, **how: int) -> State:
        with torch.no_grad():
            *_, last = self.steps(denoiser, n, **how)  # type: ignore[arg-type]
        return last.x


def recovers_the_data(case: SamplerCase) -> str:
    """With the exact denoiser, 64 steps from the prior give the law of the data: the mean and
    variance of a Gaussian, the joint probabilities of two tokens."""
    if case.given is not None:
        raise Skip("the law behind `denoiser` is not known to the kit")
    said = ""
    for denoiser in case.denoisers:
        x = tensor(case.run(denoiser, _DRAWS, steps=_STEPS))
        if isinstance(denoiser, PmfOracle):
            pairs = torch.bincount(x[:, 0] * 4 + x[:, 1], minlength=16).double() / len(x)
            exact = torch.nn.functional.pad(_PMF.double(), (0, 1, 0, 1)).flatten()
            error = float((pairs - exact).abs().max())
            said = within(error, hoeffding(len(x), 16) + 0.01, "error of joint probabilities")
        else:
            z = (x - _MEAN) / _STD
            mean = abs(float(z.mean()))
            require(mean <= 0.06 + 7 / math.sqrt(z.numel()), f"the mean is off by {mean:.3g} std")
            variance = abs(float(z.square().mean()) - 1)
            said = within(variance, 0.12 + 7 * math.sqrt(2 / z.numel()), "error of the variance")
    return said


def order_of_convergence(case: SamplerCase) -> str:
    """The error on the probability-flow ODE of a mixture, in 80 to 320 steps, falls with at least
    the declared order (within 0.3)."""
    sampler = case.sampler
    if sampler.stochastic:
        raise Skip("the order is that of deterministic runs")
    if not _fits(sampler, VP):
        raise Skip("the order is measured on a GaussianKernel")
    if sampler.evaluations == 0:
        raise Skip("it chooses its own steps")
    model, exact = ode_problem()
    counts, errors = (80, 160, 320), []
    start = start_points()
    layout = Layout.dense(len(start), (1,), dtype=torch.float64)
    for n in counts:
        noise = NoiseSource(case.seed, range(len(start)))
        with torch.no_grad():
            *_, last = sampler(Diffusion(model, layout, noise), start, even_grid(n))
        errors.append(float((tensor(last.x) - exact).abs().max()))
    require(all(math.isfinite(e) and e > 0 for e in errors), f"errors {errors}")
    slope = -float(np.polyfit(np.log(counts), np.log(errors), 1)[0])
    require(
        slope >= sampler.order - 0.3,
        f"it declares order {sampler.order}, the error falls with order {slope:.2f}: "
        + ", ".join(f"{e:.2g}" for e in errors),
    )
    return f"order {slope:.2f}, declared {sampler.order}"


def interleaved_runs(case: SamplerCase) -> str | None:
    """Two runs whose steps alternate give what they give one after the other, to the bit."""
    for denoiser in case.denoisers:
        denoiser = _point(denoiser)
        with torch.no_grad():
            serial = [[s.x for s in case.steps(denoiser, 3, first=k, seed=k)] for k in (5, 50)]
            runs = [case.steps(denoiser, 3, first=k, seed=k) for k in (5, 50)]
            both: list[list[State]] = [[], []]
            for one, two in zip(*runs, strict=True):
                both[0].append(one.x)
                both[1].append(two.x)
        for alone, mixed in zip(serial, both, strict=True):
            worst = max(_distance(a, b) for a, b in zip(alone, mixed, strict=True))
            require(worst == 0, f"interleaved runs differ from serial ones by {worst:.3g}")
    return None


def incompatible_kernels_are_refused(case: SamplerCase) -> str:
    """A kernel that is not the one it `requires` raises IncompatibleSampler before a step."""
    refused = []
    for denoiser in _oracles():
        if _fits(case.sampler, denoiser.kernel):
            continue
        n = SamplerCase(case.sampler, None, None, case.seed)
        try:
            with suppress(StopIteration):
                next(iter(n.steps(denoiser, 2)))
        except IncompatibleSampler:
            refused.append(_called(denoiser.kernel))
            continue
        raise CheckFailed(f"it runs on a {_called(denoiser.kernel)}, which it does not require")
    if not refused:
        raise Skip("it requires any kernel")
    return f"refused: {', '.join(refused)}"


def a_step_per_interval(case: SamplerCase) -> str | None:
    """One Step for each interval of the grid, with its time, a valid state and a law of x_0. A
    sampler that decides for itself how much it does (`evaluations` is 0) may go back and take
    more."""
    for denoiser in case.denoisers:
        layout = case.batch(denoiser, 3)
        kernel = denoiser.kernel
        grid = grids.uniform(kernel, min(8, kernel.steps or 8)).tolist()
        times = []
        with torch.no_grad():
            for step in case.steps(denoiser, 3):
                times.append(step.t)
                kernel.space.validate(step.x, layout)
                require(isinstance(step.x0, Distribution), f"x0 is a {type(step.x0).__name__}")
        rest = iter(times)  # looking for one time after the other in it
        among = case.sampler.evaluations == 0 and times[-1:] == grid[-1:]
        good = times == grid[1:] or (among and all(t in rest for t in grid[1:]))
        require(good, f"times {times}, not {grid[1:]}")
    return None


def sent_states_are_used(case: SamplerCase) -> str | None:
    """A state sent into the generator takes the place of the one that it yielded."""
    for denoiser in case.denoisers:
        if not isinstance(denoiser.kernel, GaussianKernel):
            continue
        run = case.steps(_point(denoiser), 3)
        with torch.no_grad():
            other = tensor(case.run(_point(denoiser), 3))
            step = next(run)
            while step.t > 0:
                step = run.send(tensor(step.x) + 1.0)  # type: ignore[attr-defined]
        require(_distance(step.x, other) > 1e-6, "what is sent back is ignored")
        return None
    raise Skip("checked on a GaussianKernel")


def noise_as_declared(case: SamplerCase) -> str:
    """`stochastic` says whether the result depends on the noise."""
    for denoiser in case.denoisers:
        denoiser = _point(denoiser)
        a, b = (case.run(denoiser, 16, seed=seed) for seed in (11, 12))
        differs = _distance(a, b) > 0
        says = "draws noise" if case.sampler.stochastic else "draws none"
        require(
            differs == case.sampler.stochastic,
            f"it says that it {says}, and runs with two seeds are "
            f"{'different' if differs else 'the same'}",
        )
    return f"stochastic: {case.sampler.stochastic}"


def samples_do_not_depend_on_the_batch(case: SamplerCase) -> str:
    """Sample 3 of a batch of 5 is sample 3 alone."""
    worst = 0.0
    for denoiser in case.denoisers:
        denoiser = _point(denoiser)
        together = case.run(denoiser, 5)
        alone = case.run(denoiser, 1, first=3)
        worst = max(worst, _distance(_row(together, 3), _row(alone, 0)))
    return within(worst, 1e-9, "difference to the sample alone")


def evaluations_as_declared(case: SamplerCase) -> str:
    """16 steps more cost 16 times `evaluations` calls of the denoiser more."""
    declared = case.sampler.evaluations
    if declared == 0:
        raise Skip("it decides for itself")
    for denoiser in case.denoisers:
        calls = []
        for steps in (16, 32):
            counted = _Counted(_point(denoiser))
            case.run(counted, 2, steps=steps)
            calls.append(counted.calls)
        more = calls[1] - calls[0]
        require(more == 16 * declared, f"16 steps cost {more} calls, declared: {16 * declared}")
    return f"{declared} per step"


def nothing_else_changes(case: SamplerCase) -> str | None:
    """A run changes neither the sampler nor the state it starts from, and neither uses nor moves
    the global random numbers."""
    for denoiser in case.denoisers:
        denoiser = _point(denoiser)
        layout = case.batch(denoiser, 3)
        x = denoiser.kernel.prior(layout).sample(NoiseSource(case.seed, range(3)))
        before, own, held = _copy(x), torch.get_rng_state(), repr(vars(case.sampler))
        with torch.no_grad():
            *_, last = case.steps(denoiser, 3, x=x)
        require(_distance(before, x) == 0, "the state that it starts from is overwritten")
        require(repr(vars(case.sampler)) == held, "the sampler keeps something of a run")
        require(torch.equal(own, torch.get_rng_state()), "global random numbers are drawn")
        again = case.run(denoiser, 3)
        require(_distance(last.x, again) == 0, "a second run gives something else")
    return None


def runs_are_differentiable(case: SamplerCase) -> str | None:
    """Gradients go through a run of real states: `no_grad` belongs to the caller."""
    for denoiser in case.denoisers:
        if not isinstance(denoiser.kernel, GaussianKernel):
            continue
        layout = case.batch(denoiser, 2)
        prior = denoiser.kernel.prior(layout).sample(NoiseSource(case.seed, range(2)))
        x = tensor(prior).clone().requires_grad_()
        *_, last = case.steps(_point(denoiser), 2, steps=4, x=x)
        end = tensor(last.x)
        require(end.requires_grad, "the final state has no gradient")
        (slope,) = torch.autograd.grad(end.sum(), x)
        good = bool(torch.isfinite(slope).all()) and float(slope.abs().max()) > 0
        require(good, f"the gradient is {slope.flatten().tolist()[:3]}")
        return None
    raise Skip("tokens have no gradient")


CHECKS: Final[tuple[Callable[[SamplerCase], str | None], ...]] = (
    recovers_the_data,
    order_of_convergence,
    interleaved_runs,
    incompatible_kernels_are_refused,
    a_step_per_interval,
    sent_states_are_used,
    noise_as_declared,
    samples_do_not_depend_on_the_batch,
    evaluations_as_declared,
    nothing_else_changes,
    runs_are_differentiable,
)


@final
class _Counted(Denoiser):
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.kernel, self.calls = denoiser, denoiser.kernel, 0

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        self.calls += 1
        return self.denoiser(x_t, t, layout, condition)


@cache
def _oracles() -> tuple[Denoiser, ...]:
    """Exact denoisers of kernels of several kinds."""
    tokens = Tokens(4)  # the mask of `Absorbing` is the last
    return (
        GaussianOracle(VP, _MEAN, _STD**2),
        PmfOracle(CategoricalKernel(tokens, Absorbing(3)), _PMF),
        PmfOracle(CategoricalKernel(tokens, Uniform()), _PMF),
    )


def _fits(sampler: Sampler, kernel: TransitionKernel) -> bool:
    """By what the sampler declares, not by its own answer."""
    if not isinstance(kernel, sampler.requires):
        return False
    return not isinstance(kernel, CategoricalKernel) or isinstance(
        kernel.corruption, sampler.corruption
    )


def _called(kernel: TransitionKernel) -> str:
    corruption = getattr(kernel, "corruption", None)
    with_ = "" if corruption is None else f" with {type(corruption).__name__}"
    return type(kernel).__name__ + with_


def _point(denoiser: Denoiser) -> Denoiser:
    """Deterministic samplers draw the variance of a Gaussian law; a point has none."""
    return PointEstimate(denoiser) if isinstance(denoiser, GaussianOracle) else denoiser


def _copy(x: State) -> State:
    return {n: v.clone() for n, v in x.items()} if isinstance(x, dict) else x.clone()


def _row(x: State, k: int) -> State:
    return {n: v[k] for n, v in x.items()} if isinstance(x, dict) else x[k]


def _distance(a: State, b: State) -> float:
    if isinstance(a, dict) and isinstance(b, dict):
        return max(_distance(a[name], b[name]) for name in a)
    return float((tensor(a).double() - tensor(b).double()).abs().max())
