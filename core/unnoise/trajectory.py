"""Moments of a run: what is kept of a trajectory, and what a callback is told on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch

from unnoise.errors import InputError
from unnoise.spaces import Layout, State


@final
@dataclass(frozen=True, eq=False)
class Frame:
    """One step of a trajectory: the state at time t, and the most probable x_0 behind it.

    Attributes
    ----------
    x, x0 : of all samples, as `Output.states`.
    layouts : of the batches that they come from. They say what belongs to which sample, which is
        what `sample` and `prediction` look up.
    """

    t: float
    x: Any
    x0: Any
    layouts: tuple[Layout, ...]

    def sample(self, k: int) -> State:
        """x of sample `k` alone, without padding, see `Layout.sample`."""
        return self._of(self.x, k)

    def prediction(self, k: int) -> State:
        """x_0 of sample `k` alone, without padding."""
        return self._of(self.x0, k)

    def _of(self, states: Any, k: int) -> State:
        place = k
        for b, layout in enumerate(self.layouts):
            if 0 <= place < layout.batch:
                return layout.sample(_batch(states, self.layouts, b), place)
            place -= layout.batch
        total = sum(layout.batch for layout in self.layouts)
        raise InputError("no such sample", value=k, limit=f"0 to {total - 1}")


@final
@dataclass(frozen=True, eq=False)
class Progress:
    """Where a run is, for a callback: step `step` of `steps` in batch `batch` of `batches`.

    `steps` is that of the current task and counts RePaint's repetitions only as they come.
    """

    batch: int
    batches: int
    step: int
    steps: int
    t: float
    x: State


Callback: TypeAlias = Callable[[Progress], None]


def concatenated(states: Sequence[Any]) -> Any:
    """The states of batches as one; a list where their shapes do not fit together."""
    if isinstance(states[0], dict):
        return {name: concatenated([state[name] for state in states]) for name in states[0]}
    if len({tuple(state.shape[1:]) for state in states}) > 1:
        return list(states)
    return torch.cat(list(states))


def _batch(states: Any, layouts: Sequence[Layout], b: int) -> Any:
    """The states of batch `b` among what `concatenated` made of all."""
    if isinstance(states, dict):
        return {n: _batch(x, [layout[n] for layout in layouts], b) for n, x in states.items()}
    if isinstance(states, list):
        return states[b]
    start = sum(layout.shape[0] for layout in layouts[:b])
    return states[start : start + layouts[b].shape[0]]
