"""What a sampler does with its run: the condition, the noise, the layout, what is sent into it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unnoise.denoise import Denoiser, Energy
from unnoise.errors import UnnoiseError
from unnoise.kernels import CategoricalKernel, GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion
from unnoise.spaces import Layout, State, tensor
from unnoise.testing.checks_layout import alone, apart, padded_layout, ragged_layout, real, sizes
from unnoise.testing.law_case import described, same_state, seeded, untouched
from unnoise.testing.report import Skip, require, within
from unnoise.testing.sampler_case import (
    Certain,
    Each,
    SamplerCase,
    copy,
    density,
    distance,
    point,
    watched,
)

_LEFT = 0.5
"""Of the way to data that are known, how much the last step may leave."""


def known_data_are_reached(case: SamplerCase) -> str:
    """With a denoiser that knows the data, the last step goes there: most of the way for numbers,
    all of it for tokens."""
    if case.given is not None:
        raise Skip("the data behind `denoiser` are not known to the kit")
    if case.sampler.denoiser is not Denoiser:
        raise Skip("data that are known have no density")
    said = ""
    for denoiser in case.denoisers:
        kernel = denoiser.kernel
        tokens = isinstance(kernel, CategoricalKernel)
        x0 = torch.tensor([2, 1]) if tokens else torch.linspace(-2, 2, 32, dtype=torch.float64)
        known = Certain(kernel, x0)
        with torch.no_grad():
            states = [tensor(step.x) for step in case.steps(known, 16, steps=8)]
        before, end = ((x.double() - x0).square().mean().sqrt().item() for x in states[-2:])
        if tokens:
            said = within(end, 0.0, "distance of the last state to the data")
        else:
            left = end / max(before, 1e-12)
            said = within(left, _LEFT, "distance to the data that the last step leaves, relative")
    return said


def sent_states_are_used(case: SamplerCase) -> str | None:
    """A state sent into the generator takes the place of the one that it yielded."""
    for denoiser in case.denoisers:
        denoiser = point(denoiser)
        with torch.no_grad():
            own = case.run(denoiser, 64, steps=8)
            steps = case.steps(denoiser, 64, steps=8)
            step = next(steps)
            other = _elsewhere(case, denoiser)
            while step.t > 0:
                step = steps.send(_moved(step.x, other))
        require(distance(step.x, own) > 1e-6, "what is sent back is ignored")
    return None


def _elsewhere(case: SamplerCase, denoiser: Denoiser) -> State:
    layout = case.batch(denoiser, 64)
    source = NoiseSource(case.seed + 5, range(64))
    return denoiser.kernel.prior(layout).sample(source)


def _moved(x: State, other: State) -> State:
    """Another state: real ones shifted, tokens those of another run's begin."""
    if isinstance(x, dict) and isinstance(other, dict):
        return {name: tensor(_moved(value, other[name])) for name, value in x.items()}
    x = tensor(x)
    return x + 1.0 if x.dtype.is_floating_point else tensor(other)


def condition_is_passed_on(case: SamplerCase) -> str:
    """Every call of the denoiser in a run is told the run's condition, whole and unchanged."""
    calls = 0
    for denoiser in case.denoisers:
        condition = {"told": torch.arange(3.0), "also": torch.arange(6).view(3, 2)}
        asked, seen = watched(point(denoiser))
        with torch.no_grad():
            for _ in case.steps(asked, 3, condition=condition):
                pass
        require(seen.calls > 0, "the denoiser is never called")
        for told, rows in zip(seen.told, seen.batches, strict=True):
            require(told is not None, "the denoiser is called without the condition of its run")
            assert told is not None
            require(set(told) == set(condition), f"the denoiser is told {sorted(told)} alone")
            # some of the samples may be asked about, each with its own rows
            chosen = told["told"].long()
            same = all(torch.equal(told[name], v[chosen]) for name, v in condition.items())
            whole = len(chosen) == rows and (rows < 3 or chosen.tolist() == [0, 1, 2])
            require(same and whole, "the denoiser is told another condition than that of the run")
        calls += seen.calls
    return f"{calls} calls"


def run_counts_and_draws(case: SamplerCase) -> str:
    """Every call goes through the run, which counts it, at a time of the grid in (0, 1], or of an
    energy in [0, 1]; noise is drawn from the run's own source, of which a deterministic sampler
    draws nothing."""
    for denoiser in case.denoisers:
        asked, seen = watched(point(denoiser))
        density = isinstance(denoiser, Energy)
        layout, noise = case.batch(denoiser, 4), NoiseSource(case.seed + 1, range(4))
        run = Diffusion(asked, layout, noise)
        with torch.no_grad():
            for _ in case.walk(run, case.begin(denoiser, 4), 8):
                pass
        require(
            run.evaluations == seen.calls * asked.evaluations,
            f"{seen.calls} calls of the denoiser, of which its run counted {run.evaluations}",
        )
        for t in map(torch.as_tensor, seen.times):
            inside = bool(((t >= 0 if density else t > 0) & (t <= 1)).all())
            require(inside, f"the denoiser is asked at t = {t}, outside (0, 1]")
        fresh = NoiseSource(case.seed + 1, range(4)).uniform(layout) if not layout.fields else None
        if fresh is not None:
            moved = not torch.equal(fresh, noise.uniform(layout))
            says = (
                "draws from another source than its run's" if case.sampler.stochastic else "draws"
            )
            require(moved == case.sampler.stochastic, f"it {says}")
    return f"{case.sampler.evaluations} per step"


def nothing_else_changes(case: SamplerCase) -> str | None:
    """A run changes neither the sampler, nor the state it starts from, nor states that it has
    yielded, and neither uses nor moves global random numbers."""
    for denoiser in case.denoisers:
        denoiser = point(denoiser)
        case.run(denoiser, 3)  # libraries that are imported late may draw
        x = case.begin(denoiser, 3)
        before, held, seen = copy(x), repr(vars(case.sampler)), []
        with torch.no_grad(), seeded(1), untouched("a run"):
            for step in case.steps(denoiser, 3, x=x):
                seen.append((step.x, copy(step.x)))
        require(same_state(before, x), "the state that it starts from is overwritten")
        require(repr(vars(case.sampler)) == held, "the sampler keeps something of a run")
        kept = all(same_state(a, b) for a, b in seen)
        require(kept, "a state that was yielded is overwritten by a later step")
        with seeded(2):
            again = case.run(denoiser, 3)
        require(distance(seen[-1][1], again) == 0, "a second run gives something else")
    return None


def padding_is_ignored(case: SamplerCase) -> str:
    """Padding of a run is 0, what stands in it at the start changes nothing, and each sample is as
    it is alone."""
    return _of_sizes(case, padded_layout)


def ragged_batches(case: SamplerCase) -> str:
    """Samples of several sizes, rows one after the other, are as each is alone."""
    return _of_sizes(case, ragged_layout)


def _of_sizes(case: SamplerCase, make: object) -> str:
    if case.given is not None:
        raise Skip("`denoiser` may not take samples of other sizes")
    assert callable(make)
    worst = 0.0
    for found in case.denoisers:
        denoiser = density(0.0) if isinstance(found, Energy) else Each(found.kernel)
        real_states = isinstance(denoiser.kernel, GaussianKernel)
        event = (4, 3) if real_states else (4,)
        layout = make(Layout.dense(3, event, dtype=torch.float64 if real_states else torch.int64))
        x = denoiser.kernel.prior(layout).sample(NoiseSource(case.seed, range(3)))
        try:
            together = _end(case, denoiser, x, layout, range(3))
        except UnnoiseError as error:
            raise Skip(f"such batches are refused: {error.message}") from error
        described(together, layout, "the last state")
        require(apart(together, real(together, layout)) == 0, "the padding of a state is not 0")
        for k, single in enumerate(sizes(layout)):
            one = _end(case, denoiser, alone(x, layout, k), single, range(k, k + 1))
            worst = max(worst, apart(alone(together, layout, k), one))
    limit = 1e-9 if math.isfinite(worst) else 0.0
    return within(worst, limit, "difference to the sample alone")


def _end(case: SamplerCase, denoiser: Denoiser, x: State, layout: Layout, ids: range) -> Tensor:
    with torch.no_grad():
        run = Diffusion(denoiser, layout, NoiseSource(case.seed + 1, ids))
        *_, last = case.walk(run, x, 8)
    return tensor(last.x)
