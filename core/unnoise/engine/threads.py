"""How many processor threads the operations of a network take.

Several threads share each operation and wait for one another at its end. On idle cores that gains
nothing for small operations; on busy ones a step waits hundreds of times for whoever has the cores.
Milliseconds of a training step on two cores, idle and beside other work, with one thread and two:

    parameters x entries          idle 1   idle 2     busy 1   busy 2
    .1 M  four layers of 16          .7       .8          3      557
    8.5 M              128          2.7      1.9          8       79
    135 M              512           21       11         98      440
    118 M convolutions, 16           24       18        103     1191
    935 M               32          180      100        547     1563
    3.7 G               64          421      312       1555     1979

So one thread is the default below 1 G, which costs little where cores are idle, and torch's number
above it. Who sets OMP_NUM_THREADS or MKL_NUM_THREADS has chosen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from unnoise.spaces import State

SMALL = 10**9
"""Parameters times entries of a batch."""


def fitting(network: nn.Module, x: State) -> int | None:
    """The number of threads for calls of `network` with states like the batch `x`: 1 for small
    ones, None for those that torch's own is left to."""
    if "OMP_NUM_THREADS" in os.environ or "MKL_NUM_THREADS" in os.environ:
        return None
    states = [x] if isinstance(x, torch.Tensor) else list(x.values())
    if any(state.device.type != "cpu" for state in states):
        return None
    work = sum(s.numel() for s in states) * sum(p.numel() for p in network.parameters())
    return 1 if work < SMALL else None


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """While entered, operations take `number` threads; None leaves them as they are."""
    before = torch.get_num_threads()
    if number is None or number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
