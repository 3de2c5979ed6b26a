"""Small batches of any space, to check things on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch

from unnoise.errors import UnnoiseError
from unnoise.kernels import Absorbing, ProductKernel, TransitionKernel, corruption_of
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Layout, ProductSpace, State, Tokens, tensor
from unnoise.testing.report import Skip

_SHAPES = ((4, 3), (3,), ())


@final
@dataclass(frozen=True, eq=False)
class Example:
    """Something to check, with what the kit cannot know of it. The target of a spec's `example`
    is a function without arguments that returns a list of these, or of the objects themselves.

    Attributes
    ----------
    subject : a space, kernel, schedule or sampler.
    arguments : of its `check_` function, such as `layout` or `kernel`.
    expected_failed_checks : checks that it does not pass by design, with the reason of each.
    """

    subject: Any
    arguments: Mapping[str, Any] = field(default_factory=dict)
    expected_failed_checks: Mapping[str, str] = field(default_factory=dict)


def example_layout(space: DataSpace, batch: int = 3) -> Layout:
    """The layout of a small dense batch in float64 (tokens: int64)."""
    if isinstance(space, ProductSpace):
        parts = {name: example_layout(part, batch) for name, part in space.parts.items()}
        return Layout.product(parts)
    if isinstance(space, Tokens):
        return Layout.dense(batch, (2,), dtype=torch.int64)
    for shape in _SHAPES:
        try:
            layout = space.layout(torch.zeros(batch, *shape, dtype=torch.float64))
            space.validate(random_state(space, layout), layout)
        except UnnoiseError:
            continue
        return layout
    raise Skip("no small batch of this space is known; pass layout=")


def random_state(space: DataSpace, layout: Layout, seed: int = 0) -> State:
    """States of the space: normal numbers, projected; tokens, all equally likely."""
    if isinstance(space, ProductSpace):
        return {
            name: tensor(random_state(part, layout[name], seed + i))
            for i, (name, part) in enumerate(space.parts.items())
        }
    noise = NoiseSource(seed, range(layout.batch))
    if isinstance(space, Tokens):
        return layout.zero_padding((noise.uniform(layout) * space.vocab).long())
    if layout.dtype.is_floating_point:
        return space.project(noise.normal(layout), layout)
    raise Skip(f"states of {type(space).__name__} cannot be drawn: their type is {layout.dtype}")


def clean_state(kernel: TransitionKernel, layout: Layout, seed: int = 0) -> State:
    """Clean data: without the mask of an absorbing kernel."""
    x = random_state(kernel.space, layout, seed)
    if isinstance(kernel, ProductKernel) and isinstance(x, dict):
        return {n: _unmasked(k, x[n]) for n, k in kernel.parts.items()}
    return _unmasked(kernel, tensor(x)) if not isinstance(x, dict) else x


def _unmasked(kernel: TransitionKernel, x: torch.Tensor) -> torch.Tensor:
    corruption = corruption_of(kernel)
    if not isinstance(corruption, Absorbing):
        return x
    return torch.where(x == corruption.mask, (corruption.mask + 1) % tokens_of(kernel), x)


def tokens_of(kernel: TransitionKernel) -> int:
    space = kernel.space
    assert isinstance(space, Tokens)
    return space.vocab


def copies(x: State, layout: Layout, n: int) -> tuple[State, Layout]:
    """The first sample of a dense batch n times."""
    if isinstance(x, dict):
        made = {name: copies(value, layout[name], n) for name, value in x.items()}
        states = {name: tensor(state) for name, (state, _) in made.items()}
        return states, Layout.product({name: part for name, (_, part) in made.items()})
    if layout.index is not None or layout.mask is not None:
        raise Skip("samples are copied in dense layouts without padding")
    rows = x[:1].expand(n, *x.shape[1:]).clone()
    return rows, replace(layout, batch=n, shape=(n, *layout.shape[1:]))


def moved(x: State, layout: Layout) -> Sequence[torch.Tensor]:
    """The tensors of a state."""
    return list(x.values()) if isinstance(x, dict) else [x]
