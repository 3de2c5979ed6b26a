"""Moments of a run: what is kept of a trajectory, and what a callback is told on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from unnoise.errors import InputError
from unnoise.spaces import Layout, State


@final
@dataclass(frozen=True, eq=False)
class Part:
    """One batch at one moment: its states x_t, the most probable x_0 behind them, the layout that
    says what belongs to which sample, and what the denoiser was told; all on the CPU."""

    x: State
    x0: State
    layout: Layout
    condition: Mapping[str, Tensor] | None = None


@final
@dataclass(frozen=True, eq=False)
class Frame:
    """One step of a trajectory: the states at time t, batch after batch."""

    t: float
    parts: tuple[Part, ...]

    @property
    def x(self) -> Any:
        """The states of all samples, as `Output.states`."""
        return concatenated([part.x for part in self.parts])

    @property
    def x0(self) -> Any:
        """The most probable x_0 of all samples."""
        return concatenated([part.x0 for part in self.parts])

    @property
    def batch(self) -> int:
        """Samples in it. A plan may make others without a diffusion, of which it knows nothing."""
        return sum(part.layout.batch for part in self.parts)

    def sample(self, k: int) -> State:
        """x of sample `k` alone, without padding, see `Layout.sample`."""
        part, place = self.located(k)
        return part.layout.sample(part.x, place)

    def prediction(self, k: int) -> State:
        """x_0 of sample `k` alone, without padding."""
        part, place = self.located(k)
        return part.layout.sample(part.x0, place)

    def told(self, k: int) -> dict[str, Tensor]:
        """The condition of sample `k` alone, one row of each of its tensors, padding included."""
        part, place = self.located(k)
        return {n: v[place : place + 1] for n, v in (part.condition or {}).items()}

    def located(self, k: int) -> tuple[Part, int]:
        """The part that holds sample `k`, and its place there. Raises InputError."""
        place = k
        for part in self.parts:
            if 0 <= place < part.layout.batch:
                return part, place
            place -= part.layout.batch
        raise InputError("no such sample", value=k, limit=f"0 to {self.batch - 1}")


@final
@dataclass(frozen=True, eq=False)
class Progress:
    """Where a run is, for a callback: step `step` of `steps` in batch `batch` of `batches`.

    `steps` is that of the current task and counts repetitions (RePaint, Restart) only as they come.
    `frame` makes a copy of this moment, which a `Display` can show.
    """

    batch: int
    batches: int
    step: int
    steps: int
    t: float
    x: State
    frame: Callable[[], Frame] | None = None


Callback: TypeAlias = Callable[[Progress], None]


def concatenated(states: Sequence[Any]) -> Any:
    """The states of batches as one; a list where their shapes do not fit together."""
    if isinstance(states[0], dict):
        return {name: concatenated([state[name] for state in states]) for name in states[0]}
    if len({tuple(state.shape[1:]) for state in states}) > 1:
        return list(states)
    return torch.cat(list(states))
