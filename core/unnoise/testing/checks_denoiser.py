"""What a `Denoiser` is checked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from torch import Tensor

from unnoise.denoise import Condition, Denoiser, NetworkDenoiser
from unnoise.distributions import Distribution
from unnoise.kernels import Absorbing, corruption_of
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State
from unnoise.testing.examples import clean_state, example_layout
from unnoise.testing.law_case import seeded, untouched
from unnoise.testing.report import Skip, require, within

_SAME: Final = 1e-3
"""Relative difference that the order of float32 sums may make."""


@final
@dataclass(frozen=True, eq=False)
class DenoiserCase:
    """A denoiser, and what it is told beside a state."""

    denoiser: Denoiser
    given: Layout | None
    condition: Condition
    seed: int

    @property
    def layout(self) -> Layout:
        if self.given is not None:
            return self.given
        return _in_float32(example_layout(self.denoiser.kernel.space))

    def state(self, t: float) -> State:
        """Noisy states of random clean data."""
        layout = self.layout
        noise = NoiseSource(self.seed, range(layout.batch))
        x0 = clean_state(self.denoiser.kernel, layout, self.seed)
        return self.denoiser.kernel.marginal(x0, t, layout).sample(noise)

    @property
    def times(self) -> tuple[float, ...]:
        """From little to all noise, on the kernel's steps."""
        n = self.denoiser.kernel.steps
        return (0.02, 0.5, 1.0) if n is None else (1 / n, max(1, n // 2) / n, 1.0)

    def law(self, x: State, t: float | Tensor) -> Distribution:
        self.denoiser.eval()
        with torch.no_grad():
            return self.denoiser(x, t, self.layout, self.condition)


def laws_are_of_the_space(case: DenoiserCase) -> str | None:
    """The law of x_0 has finite means of the state's shape, and draws that the space takes."""
    for t in case.times:
        x = case.state(t)
        law = case.law(x, t)
        require(isinstance(law, Distribution), f"it returns a {type(law).__name__}")
        for part, own in zip(_tensors(law.mean), _tensors(x), strict=True):
            wide = part.shape if part.shape == own.shape else part.shape[:-1]  # probabilities
            require(wide == own.shape, f"a mean of shape {tuple(part.shape)} of {tuple(own.shape)}")
            require(bool(torch.isfinite(part).all()), f"the mean is not finite at t = {t:g}")
        draw = law.sample(NoiseSource(case.seed, range(case.layout.batch)))
        case.denoiser.kernel.space.validate(draw, case.layout)
    return None


def reverse_takes_the_law(case: DenoiserCase) -> str | None:
    """The kernel steps back with it."""
    for s, t in zip((0.0, *case.times), case.times, strict=False):
        x = case.state(t)
        kernel = case.denoiser.kernel
        back = kernel.reverse(x, case.law(x, t), t, s, case.layout)
        draw = back.sample(NoiseSource(case.seed, range(case.layout.batch)))
        kernel.space.validate(draw, case.layout)
    return None


def calls_repeat(case: DenoiserCase) -> str | None:
    """Two calls in evaluation give the same, leave the state alone and draw no global numbers."""
    t = case.times[1]
    x = case.state(t)
    before = [part.clone() for part in _tensors(x)]
    first = case.law(x, t)  # libraries that are imported late may draw
    with seeded(1), untouched("a call"):
        second = case.law(x, t)
    worst = _difference(first, second)
    require(worst == 0, f"two calls differ by {worst:.3g}")
    same = all(torch.equal(a, b) for a, b in zip(before, _tensors(x), strict=True))
    require(same, "the state is overwritten")
    return None


def times_per_sample(case: DenoiserCase) -> str:
    """A time for each sample gives what a float gives to the sample of that time."""
    layout = case.layout
    own = [case.times[k % len(case.times)] for k in range(layout.batch)]
    x = case.state(case.times[1])
    together = case.law(x, torch.tensor(own, dtype=torch.float64))
    worst = 0.0
    for k, t in enumerate(own):
        alone = case.law(x, t)
        worst = max(worst, _difference(_only(together, layout, k), _only(alone, layout, k)))
    return within(worst, _SAME, "relative difference")


def samples_do_not_see_each_other(case: DenoiserCase) -> str:
    """The law of the first sample is the same when the others have other states."""
    layout = case.layout
    if layout.batch < 2:
        raise Skip("a batch of one sample")
    t = case.times[1]
    x = case.state(t)
    other = case.denoiser.kernel.prior(layout).sample(
        NoiseSource(case.seed + 1, range(layout.batch))
    )
    mixed = _keep_first(x, other, layout)
    worst = _difference(_only(case.law(x, t), layout, 0), _only(case.law(mixed, t), layout, 0))
    return within(worst, _SAME, "relative change of the first sample")


def padding_does_not_matter(case: DenoiserCase) -> str:
    """What stands in the padding of a state does not change the law; or the padding of real states
    stays 0 in a run, because the mean there is 0 and noise is."""
    layout = case.layout
    if layout.fields or layout.mask is None:
        raise Skip("the layout has no padding")
    t = case.times[1]
    x = case.state(t)
    assert isinstance(x, Tensor)
    mask = layout.mask.view(*layout.mask.shape, *(1,) * (x.ndim - layout.mask.ndim))
    spoiled = torch.where(mask, x, torch.ones_like(x) if _whole(x) else torch.full_like(x, 9.0))
    first, second = case.law(x, t), case.law(spoiled, t)
    if not _whole(x) and isinstance(first.mean, Tensor):
        outside = first.mean.masked_fill(mask.expand_as(first.mean), 0.0)
        if not bool((outside != 0).any()):
            return "padding stays 0"
    worst = _difference(*(_real(law, layout) for law in (first, second)))
    return within(worst, _SAME, "relative difference")


def gradients_reach_the_weights(case: DenoiserCase) -> str:
    """The law depends on trainable weights, differentiably."""
    weights = [p for p in case.denoiser.parameters() if p.requires_grad]
    if not weights:
        raise Skip("it has no weights to train")
    t = case.times[1]
    law = case.denoiser(case.state(t), t, case.layout, case.condition)
    total = sum((part.double().square().sum() for part in _tensors(law.mean)), torch.zeros(()))
    require(total.requires_grad, "the law has no gradient")
    found = torch.autograd.grad(total, weights, allow_unused=True)
    reached = sum(g is not None and bool(torch.isfinite(g).all()) for g in found)
    moved = sum(g is not None and float(g.abs().max()) > 0 for g in found)
    require(moved > 0, "no weight has a gradient other than 0")
    require(reached >= moved, "a gradient is not finite")
    return f"{moved} of {len(weights)} tensors have a gradient"


def weights_round_trip(case: DenoiserCase) -> str | None:
    """`state_dict` holds all that a call depends on: loaded back, the law is the same."""
    t = case.times[1]
    x = case.state(t)
    before = case.law(x, t)
    held = {name: value.clone() for name, value in case.denoiser.state_dict().items()}
    case.denoiser.load_state_dict(held)
    require(_difference(before, case.law(x, t)) == 0, "loading its own weights changes the law")
    return None


def time_matters(case: DenoiserCase) -> str:
    """What the network puts out, or the law of a denoiser without one, depends on the time."""
    if isinstance(corruption_of(case.denoiser.kernel), Absorbing):
        raise Skip("behind masks the law of x_0 does not depend on the time")
    x, (early, _, late) = case.state(case.times[1]), case.times
    stirred = replace(case, denoiser=_stirred(case.denoiser))
    one, two = (_answer(stirred, x, t, case.condition) for t in (early, late))
    worst = _difference(one, two)
    require(worst > 0, "the network puts out the same at every time")
    return f"relative change {worst:.2g}"


def condition_matters(case: DenoiserCase) -> str:
    """What is put out depends on each tensor of the condition."""
    if not case.condition:
        raise Skip("no condition was given")
    stirred = replace(case, denoiser=_stirred(case.denoiser))
    condition, seen, blind = dict(case.condition), list[str](), list[str]()
    for name in condition:
        moved = _moves(stirred, condition, name)
        for other in condition:
            if moved == 0 and other != name:  # what another tensor may stand in the place of
                rest = {n: v for n, v in condition.items() if n != other}
                moved = _moves(stirred, rest, name) or 0.0
        if moved is not None:
            (seen if moved > 0 else blind).append(name)
    require(not blind, f"the network does not see its condition: {', '.join(map(repr, blind))}")
    if not seen:
        raise Skip("no tensor of the condition could be changed")
    return ", ".join(seen)


def _moves(case: DenoiserCase, condition: Mapping[str, Tensor], name: str) -> float | None:
    """How far other values of one tensor move the answer; None where it takes no others."""
    x, t = case.state(case.times[1]), case.times[1]
    moved: list[float] = []
    for other in _others(condition[name]):
        with suppress(Exception):  # a value that the network does not know
            before = _answer(case, x, t, condition)
            moved.append(_difference(before, _answer(case, x, t, {**condition, name: other})))
    return max(moved, default=None)


def _answer(case: DenoiserCase, x: State, t: float, condition: Condition) -> Distribution | State:
    """Of the network alone where there is one: the law knows time and state by itself."""
    denoiser = case.denoiser.eval()
    with torch.no_grad():
        if not isinstance(denoiser, NetworkDenoiser):
            return denoiser(x, t, case.layout, condition)
        kernel, told = denoiser.kernel, denoiser.parametrization
        inputs = told.inputs(kernel, x, case.times[1], case.layout)
        label = torch.full((case.layout.batch,), float(told.label(kernel, t)))
        answer: State = denoiser.network(inputs, label, case.layout, condition)
    return answer


def _stirred(denoiser: Denoiser) -> Denoiser:
    """A copy with other weights: layers that begin at 0 hide what they see."""
    made = deepcopy(denoiser)
    own = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            size = 0.1 * (1 + float(parameter.abs().mean()))
            noise = torch.randn(parameter.shape, generator=own, dtype=torch.float64)
            parameter.add_(size * noise.to(parameter))
    return made


def _others(value: Tensor) -> list[Tensor]:
    """Other values of a condition: of its own rows first, for what may be no other number."""
    found = [value.roll(1, 0), value.flip(0)]
    if value.dtype == torch.bool:
        return [*found, ~value]
    if value.dtype.is_floating_point:
        return [*found, 1.5 * value + 0.7]
    return [*found, (value - 1).clamp(min=0), torch.where(value > 0, 0, 1).to(value), value + 1]


CHECKS: Final[tuple[Callable[[DenoiserCase], str | None], ...]] = (
    laws_are_of_the_space,
    reverse_takes_the_law,
    calls_repeat,
    times_per_sample,
    samples_do_not_see_each_other,
    padding_does_not_matter,
    time_matters,
    condition_matters,
    gradients_reach_the_weights,
    weights_round_trip,
)


def _in_float32(layout: Layout) -> Layout:
    """Networks are float32."""
    if layout.fields:
        parts = {name: _in_float32(part) for name, part in layout.fields.items()}
        return replace(layout, fields=parts)
    return replace(layout, dtype=torch.float32) if layout.dtype.is_floating_point else layout


def _tensors(x: State) -> list[Tensor]:
    return list(x.values()) if isinstance(x, dict) else [x]


def _whole(x: Tensor) -> bool:
    return not x.dtype.is_floating_point


def _difference(a: Distribution | State, b: Distribution | State) -> float:
    one, two = (_tensors(v.mean if isinstance(v, Distribution) else v) for v in (a, b))
    worst = 0.0
    for p, q in zip(one, two, strict=True):
        if p.numel():
            error = (p.double() - q.double()).abs() / (1 + p.double().abs())
            worst = max(worst, float(error.max()))
    return worst


def _rows(layout: Layout, k: int = 0) -> Tensor:
    """True for the rows of sample k."""
    index = torch.arange(layout.batch) if layout.index is None else layout.index
    return index == k


def _only(law: Distribution, layout: Layout, k: int) -> State:
    """The mean of one sample."""
    mean = law.mean
    if isinstance(mean, dict):
        return {name: part[_rows(layout[name], k)] for name, part in mean.items()}
    return mean[_rows(layout, k)]


def _keep_first(x: State, other: State, layout: Layout) -> State:
    if isinstance(x, dict) and isinstance(other, dict):
        return {n: _blend(x[n], other[n], layout[n]) for n in x}
    assert isinstance(x, Tensor)
    assert isinstance(other, Tensor)
    return _blend(x, other, layout)


def _blend(x: Tensor, other: Tensor, layout: Layout) -> Tensor:
    rows = _rows(layout).view(-1, *(1,) * (x.ndim - 1))
    return torch.where(rows, x, other)


def _real(law: Distribution, layout: Layout) -> State:
    mean = law.mean
    assert isinstance(mean, Tensor)
    assert layout.mask is not None
    return mean[layout.mask]
