"""The laws that the lines of a kernel return, and what a law of any class can be compared with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from unnoise.distributions import Dirac, Distribution, Gaussian, Product
from unnoise.errors import UnnoiseError
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Layout, State, tensor
from unnoise.testing.examples import clean_state, copies
from unnoise.testing.kernel_case import KernelCase
from unnoise.testing.report import CheckFailed, require
from unnoise.testing.statistics import DRAWS


@final
@dataclass(frozen=True, eq=False)
class Line:
    """A law that a kernel returns for a batch of samples that are all alike, and one of the same
    family: that of other data."""

    name: str
    law: Distribution
    other: Distribution
    layout: Layout
    space: DataSpace


def lines(case: KernelCase, n: int = DRAWS) -> Iterator[Line]:
    """marginal, transition, reverse and prior of one clean state, n times."""
    kernel, (s, t) = case.kernel, case.pairs[0]
    x0, layout = copies(case.x0, case.layout, n)
    other, _ = copies(clean_state(kernel, case.layout, case.seed + 7), case.layout, n)
    middle, end = (once(case, x0, at, layout, n) for at in (s, t))
    away = once(case, other, s, layout, n)
    found: list[tuple[str, Callable[[], Distribution], Callable[[], Distribution]]] = [
        (
            "marginal",
            lambda: kernel.marginal(x0, t, layout),
            lambda: kernel.marginal(x0, s, layout),
        ),
        (
            "transition",
            lambda: kernel.transition(middle, s, t, layout),
            lambda: kernel.transition(away, s, t, layout),
        ),
        (
            "reverse",
            lambda: kernel.reverse(end, Dirac(x0, layout), t, s, layout),
            lambda: kernel.marginal(x0, t, layout),
        ),
        ("prior", lambda: kernel.prior(layout), lambda: kernel.marginal(x0, t, layout)),
    ]
    for name, law, beside in found:
        yield from _parts(Line(name, law(), beside(), layout, kernel.space))


def once(case: KernelCase, x0: State, t: float, layout: Layout, n: int) -> State:
    """One draw of x_t, n times."""
    first, single = copies(x0, layout, 1)
    x = case.kernel.marginal(first, t, single).sample(NoiseSource(case.seed + 3, [0], 5))
    return copies(x, single, n)[0]


def _parts(line: Line) -> Iterator[Line]:
    """The independent parts of the law of a product, each by itself."""
    law, other = line.law, line.other
    if not isinstance(law, Product) or not isinstance(other, Product):
        yield line
        return
    spaces = line.space.parts  # type: ignore[attr-defined]
    for name, part in law.parts.items():
        yield Line(f"{line.name}, {name}", part, other.parts[name], line.layout[name], spaces[name])


def linear(space: DataSpace, layout: Layout) -> bool:
    """Whether states can be added: `project` is linear."""
    if layout.fields or not layout.dtype.is_floating_point:
        return False
    own = torch.Generator().manual_seed(0)
    a, b = (torch.randn(layout.shape, generator=own, dtype=layout.dtype) for _ in range(2))
    a, b = layout.zero_padding(a), layout.zero_padding(b)
    whole = tensor(space.project(3.0 * a - 2.0 * b, layout))
    pieces = 3.0 * tensor(space.project(a, layout)) - 2.0 * tensor(space.project(b, layout))
    return bool(torch.allclose(whole, pieces, atol=1e-4))


def reference(line: Line, x: Tensor) -> Gaussian:
    """A normal law about where the draws x are, whose draws and density are right."""
    mean = x.mean(0, keepdim=True).expand(x.shape)
    spread = x.std(0, keepdim=True)
    free = bool((line.space.dim(line.layout) == line.layout.sizes).all())
    if free:
        return Gaussian(mean, spread.clamp(min=1e-8).expand(x.shape), line.space, line.layout)
    size = float(spread.square().mean().sqrt())
    return Gaussian(tensor(line.space.project(mean, line.layout)), size, line.space, line.layout)


def density(law: Distribution, x: State) -> Tensor | None:
    """log p(x), or None for a law that says it has none."""
    try:
        found = law.log_prob(x)
    except UnnoiseError:
        return None
    return found.double().detach()


@contextmanager
def untouched(what: str) -> Iterator[None]:
    """CheckFailed when global random numbers of torch or numpy are drawn or seeded. Those of Python
    are left out: tools that check types draw them to choose what they look at."""
    before = _globals()
    yield
    after = _globals()
    for name, was in before.items():
        require(was == after[name], f"{what}: the global random numbers of {name} are used")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global random states of this seed, and afterwards those of before."""
    torch_state, np_state, state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(np_state)
        random.setstate(state)


def _globals() -> dict[str, object]:
    kind, words, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (kind, np.asarray(words).tobytes(), *rest),
    }


def same_state(a: State, b: State) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return all(torch.equal(a[name], b[name]) for name in a)
    return torch.equal(tensor(a), tensor(b))


def described(x: State, layout: Layout, what: str) -> None:
    """CheckFailed unless a state has the shape, type and device of its layout."""
    if isinstance(x, dict):
        for name, part in x.items():
            described(part, layout[name], f"{what}, {name}")
        return
    if not isinstance(x, Tensor):
        raise CheckFailed(f"{what} is a {type(x).__name__}, not a tensor")
    require(tuple(x.shape) == layout.shape, f"{what}: shape {tuple(x.shape)}, not {layout.shape}")
    require(x.dtype == layout.dtype, f"{what}: {x.dtype}, not {layout.dtype} of its layout")
    require(x.device == layout.device, f"{what}: on {x.device}, not {layout.device}")
