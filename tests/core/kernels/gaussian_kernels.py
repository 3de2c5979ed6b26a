"""Schedules of every kind, and states to try them on."""

from __future__ import annotations

import pytest
import torch

from unnoise.kernels import (
    VE,
    BetaTable,
    Geometric,
    LearnedSchedule,
    Linear,
    MonotoneInterior,
    SubVP,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, ZeroCoM

D = torch.float64


def learned() -> LearnedSchedule:
    """With an interior that is no line."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        interior = MonotoneInterior(8)
    interior.height.data += 0.5
    return LearnedSchedule(interior).requires_grad_(False)


SCHEDULES = {
    "vp linear": VPLinear(),
    "vp cosine": VPCosine(),
    "sub-vp": SubVP(),
    "ve": VE(),
    "flow": Linear(),
    "geometric": Geometric(),
    "beta table": BetaTable.linear(),
    "quadratic table": BetaTable.quadratic(),
    "learned": learned(),
}
COUNTS = (3, 2, 4)
MASK = torch.arange(5)[None] < torch.tensor(COUNTS)[:, None]
PLACES = {
    "dense": (Euclidean(), Layout.dense(3, (2, 2), dtype=D)),
    "padded": (Euclidean(), Layout.dense(3, (5, 2), mask=MASK, dtype=D)),
    "ragged": (Euclidean(), Layout.ragged(COUNTS, (2,), dtype=D)),
    "zero mean": (ZeroCoM(), Layout.dense(3, (4, 3), dtype=D)),
    "zero mean padded": (ZeroCoM(), Layout.dense(3, (5, 3), mask=MASK, dtype=D)),
    "zero mean ragged": (ZeroCoM(), Layout.ragged(COUNTS, (3,), dtype=D)),
}
# s < t < u, on the steps of every table; each sample its own, or one for all
FLOATS = (0.24, 0.5, 0.92)
TENSORS = tuple(
    torch.tensor(v, dtype=D) for v in ([0.02, 0.24, 0.9], [0.1, 0.5, 0.92], [0.64, 0.92, 1.0])
)

schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
places = pytest.mark.parametrize("place", PLACES)
clocks = pytest.mark.parametrize("clock", [FLOATS, TENSORS], ids=["one time", "a time per sample"])


def close(a, b, tolerance=1e-10):
    a, b = (v if isinstance(v, torch.Tensor) else torch.tensor(v, dtype=D) for v in (a, b))
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def state(space, layout, seed):
    x = torch.randn(layout.shape, generator=torch.Generator().manual_seed(seed), dtype=D)
    return space.project(x, layout)


def path(kernel, layout, clock):
    """x_0 and draws of x_s, x_t of one path."""
    source = NoiseSource(0, range(layout.batch))
    s, t, _ = clock
    x0 = state(kernel.space, layout, 0)
    x_s = kernel.marginal(x0, s, layout).sample(source)
    return x0, x_s, kernel.transition(x_s, s, t, layout).sample(source)
