"""What a `Denoiser` is checked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Distribution
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State
from unnoise.testing.examples import clean_state, example_layout
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
        for part in _tensors(law.mean):
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
    held = torch.get_rng_state()
    worst = _difference(case.law(x, t), case.law(x, t))
    require(worst == 0, f"two calls differ by {worst:.3g}")
    same = all(torch.equal(a, b) for a, b in zip(before, _tensors(x), strict=True))
    require(same, "the state is overwritten")
    require(torch.equal(held, torch.get_rng_state()), "global random numbers are drawn")
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
    """What stands in the padding of a state does not change the law."""
    layout = case.layout
    if layout.fields or layout.mask is None:
        raise Skip("the layout has no padding")
    t = case.times[1]
    x = case.state(t)
    assert isinstance(x, Tensor)
    mask = layout.mask.view(*layout.mask.shape, *(1,) * (x.ndim - layout.mask.ndim))
    spoiled = torch.where(mask, x, torch.ones_like(x) if _whole(x) else torch.full_like(x, 9.0))
    first, second = case.law(x, t), case.law(spoiled, t)
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


CHECKS: Final[tuple[Callable[[DenoiserCase], str | None], ...]] = (
    laws_are_of_the_space,
    reverse_takes_the_law,
    calls_repeat,
    times_per_sample,
    samples_do_not_see_each_other,
    padding_does_not_matter,
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
