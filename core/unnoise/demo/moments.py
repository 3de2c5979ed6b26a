"""Which moments of a way are shown: those between which something changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from unnoise.spaces import State
from unnoise.trajectory import Frame

MOMENTS = 10
ROWS = 4


def moments(frames: Sequence[Frame], rows: Sequence[int], count: int = MOMENTS) -> list[Frame]:
    """At most `count` frames, from the last one at the highest time to the end.

    They lie at equal parts of the way that the states of the samples in `rows` go from frame to
    frame, `change` added up, so that a stretch in which nothing happens is one moment and not
    many. Two that are nearer than half such a part are alike, and one of them goes. A plan of
    several diffusions is shown by its last one, and of a time that a run visits again and again
    the last visit.
    """
    way = last_way(frames)
    gone = [0.0]
    for before, after in pairwise(way):
        gone.append(gone[-1] + sum(change(before.sample(k), after.sample(k)) for k in rows))
    if not gone[-1] > 0:
        return way[-1:]
    part = gone[-1] / (count - 1)
    chosen = [0]
    for number in range(1, count - 1):
        nearest = min(range(len(way)), key=lambda i: (abs(gone[i] - number * part), -i))
        apart = gone[nearest] - gone[chosen[-1]], gone[-1] - gone[nearest]
        if min(apart) > part / 2:
            chosen.append(nearest)
    return [way[i] for i in [*chosen, len(way) - 1]]


def last_way(frames: Sequence[Frame]) -> list[Frame]:
    """The frames from the last one at the highest time on, each time once: its last visit."""
    highest = max(frame.t for frame in frames)
    first = max(i for i, frame in enumerate(frames) if frame.t == highest)
    way: list[Frame] = []
    for frame in frames[first:]:
        while way and way[-1].t <= frame.t:
            way.pop()
        way.append(frame)
    return way


def change(before: State, after: State) -> float:
    """How far a sample went: the part of its tokens that are others, or the distance of its numbers
    when both states are scaled to a mean square of 1 (a kernel may make noise a hundred times as
    large as data, and size is not what one sees); of a product the sum over its parts."""
    if isinstance(before, dict) and isinstance(after, dict):
        return sum(_changed(before[name], after[name]) for name in before)
    assert isinstance(before, Tensor)
    assert isinstance(after, Tensor)
    return _changed(before, after)


def _changed(before: Tensor, after: Tensor) -> float:
    if before.is_floating_point():
        one, other = (x.double() / x.double().square().mean().sqrt() for x in (before, after))
        return float((other.nan_to_num() - one.nan_to_num()).square().mean().sqrt())
    return float(torch.ne(before, after).double().mean())


def spread(total: int, count: int = ROWS) -> list[int]:
    """At most `count` of the numbers 0 .. total - 1, first and last among them."""
    count = min(count, total)
    return sorted({round(i * (total - 1) / max(count - 1, 1)) for i in range(count)})
