"""What kernels and samplers do with samples of several sizes in one batch: padded or ragged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from unnoise.distributions import Dirac, Distribution
from unnoise.errors import UnnoiseError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, tensor
from unnoise.testing.examples import clean_state
from unnoise.testing.kernel_case import KernelCase
from unnoise.testing.law_case import density, described
from unnoise.testing.report import Skip, require, within

_SAME = 1e-6


def padded_layout(layout: Layout) -> Layout:
    """Samples of several sizes, padded, of a dense layout (B, n, ...)."""
    if layout.fields:
        return Layout.product({name: padded_layout(part) for name, part in layout.fields.items()})
    counts = _counts(layout)
    mask = torch.arange(layout.shape[1]) < torch.tensor(counts)[:, None]
    return replace(layout, mask=mask)


def ragged_layout(layout: Layout) -> Layout:
    """Samples of several sizes, row after row, of a dense layout (B, n, ...)."""
    if layout.fields:
        return Layout.product({name: ragged_layout(part) for name, part in layout.fields.items()})
    return Layout.ragged(_counts(layout), layout.shape[2:], dtype=layout.dtype)


def _counts(layout: Layout) -> list[int]:
    if layout.index is not None or layout.mask is not None or len(layout.shape) < 2:
        raise Skip("for samples of several points, dense and without padding")
    n = layout.shape[1]
    if n < 2:
        raise Skip("samples of one point have no padding")
    return [max(1, n - k % n) for k in range(layout.batch)]


def sizes(layout: Layout) -> list[Layout]:
    """The layout of each sample alone, dense and without padding."""
    if layout.fields:
        parts = {name: sizes(part) for name, part in layout.fields.items()}
        return [Layout.product({n: p[k] for n, p in parts.items()}) for k in range(layout.batch)]
    event = layout.shape[1:] if layout.index is not None else layout.shape[2:]
    points = layout.points.tolist()
    return [Layout.dense(1, (n, *event), dtype=layout.dtype) for n in points]


def alone(x: State, layout: Layout, k: int) -> State:
    """Sample k as a batch of its own."""
    found = layout.sample(x, k)
    return {n: v[None] for n, v in found.items()} if isinstance(found, dict) else found[None]


def real(x: State, layout: Layout) -> State:
    """x with zeros in the padding."""
    if isinstance(x, dict):
        return {name: tensor(real(value, layout[name])) for name, value in x.items()}
    return layout.zero_padding(x)


def spoiled(x: State, layout: Layout) -> State:
    """x with other values in the padding: large numbers, other tokens."""
    if isinstance(x, dict):
        return {name: tensor(spoiled(value, layout[name])) for name, value in x.items()}
    junk = torch.full_like(x, 300.0) if x.dtype.is_floating_point else torch.ones_like(x)
    inside = layout.zero_padding(torch.ones_like(x)) > 0
    return torch.where(inside, x, junk)


def apart(a: State, b: State) -> float:
    if isinstance(a, Mapping):
        assert isinstance(b, dict)
        return max(apart(a[name], b[name]) for name in a)
    return float((a.double() - tensor(b).double()).abs().max()) if a.numel() else 0.0


def padding_is_ignored(case: KernelCase) -> str:
    """Draws are 0 in the padding, what stands in the padding of states changes nothing, and each
    sample is as it is alone."""
    return _of_sizes(case, padded_layout(case.layout))


def ragged_batches(case: KernelCase) -> str:
    """Samples of several sizes, rows one after the other, are as each is alone."""
    return _of_sizes(case, ragged_layout(case.layout))


def _of_sizes(case: KernelCase, layout: Layout) -> str:
    kernel, (s, t), n = case.kernel, case.pairs[0], layout.batch
    try:
        x0 = real(clean_state(kernel, layout, case.seed), layout)
        kernel.space.validate(x0, layout)
    except UnnoiseError as error:
        raise Skip(f"the space refuses such batches: {error.message}") from error
    x_s = kernel.marginal(x0, s, layout).sample(case.noise(1))
    x_t = kernel.transition(x_s, s, t, layout).sample(case.noise(2))
    laws: dict[str, Callable[..., Distribution]] = {
        "marginal": lambda x0, x_s, x_t, own: kernel.marginal(x0, t, own),
        "transition": lambda x0, x_s, x_t, own: kernel.transition(x_s, s, t, own),
        "reverse": lambda x0, x_s, x_t, own: kernel.reverse(x_t, Dirac(x0, own), t, s, own),
        "prior": lambda x0, x_s, x_t, own: kernel.prior(own),
    }
    states, worst = (x0, x_s, x_t), 0.0
    dirty = tuple(spoiled(x, layout) for x in states)
    for name, line in laws.items():
        law = line(*states, layout)
        x = law.sample(case.noise(3))
        described(x, layout, f"{name}: a draw")
        require(apart(x, real(x, layout)) == 0, f"{name}: the padding of a draw is not 0")
        other = line(*dirty, layout)
        drawn = real(other.sample(case.noise(3)), layout)
        moved = apart(x, drawn)
        require(moved <= _SAME, f"{name}: what stands in the padding moves draws by {moved:.3g}")
        own, second = density(law, x), density(other, spoiled(x, layout))
        if own is not None and second is not None:
            gap = float((own - second).abs().max())
            require(
                gap <= 1e-4, f"{name}: what stands in the padding changes log_prob by {gap:.3g}"
            )
        for k, single in enumerate(sizes(layout)):
            one = line(*(alone(v, layout, k) for v in states), single)
            draw = one.sample(NoiseSource(case.seed, [k], 3))
            worst = max(worst, apart(alone(x, layout, k), draw))
            if own is not None:
                found = one.log_prob(alone(x, layout, k)).double()
                worst = max(worst, float((found[0] - own[k]).abs()) / (1 + abs(float(own[k]))))
    return within(worst, _SAME, f"{n} samples: difference to each alone")
