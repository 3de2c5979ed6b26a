"""One-step samplers on products: a step of their own for each part that they fit, Bayes' posterior
for the others.

    x_s^n = step(x_t^n, p(x_0^n | x_t))  or  x_s^n ~ reverse_n(x_t^n, p(x_0^n | x_t))

with one prediction p(x_0 | x_t) for all parts. Given it they are independent over a step, so that a
jump of one part and a deterministic step of another together follow the joint law as steps become
small: the generator of the reverse process is the sum of those of its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from unnoise.kernels import GaussianKernel, ProductKernel
from unnoise.samplers.algebra import Level, level
from unnoise.samplers.base import Step, Steps, Times, intervals
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import Layout, State, parts, tensor

PartStep: TypeAlias = Callable[[GaussianKernel, Tensor, Tensor, Level, Level, Layout], Tensor]
"""(kernel, x_t, the mean of x_0, level at t, level at s, layout) -> x_s of one Gaussian part."""


def by_parts(step: PartStep, kernel: ProductKernel, run: Diffusion, x: State, grid: Times) -> Steps:
    """Walk with `step` for Gaussian parts and `reverse` for the others."""
    for t, s in intervals(grid):
        law = run(x, t).explicit(run.noise)
        state, laws = parts(x, kernel.parts), kernel.laws(law, run.layout)
        x = {}
        for name, part in kernel.parts.items():
            old, of, layout = state[name], laws[name], run.layout[name]
            if isinstance(part, GaussianKernel):
                a, b = level(part.schedule, t), level(part.schedule, s)
                x[name] = step(part, old, tensor(of.mean), a, b, layout)
            else:
                x[name] = tensor(part.reverse(old, of, t, s, layout).sample(run.noise))
        sent = yield Step(s, x, law)
        x = x if sent is None else sent
