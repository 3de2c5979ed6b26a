"""The bound of a process whose forward drift is learned, along its paths (DiffFlow).

Of a path x_0, x_1, ..., x_N of the process, drawn with the noise z and differentiable in x_0 and in
all parameters,

    -log p(x_0) <= E [ -log p(x_N) + sum_i log q(x_{i+1} | x_i) - log p(x_i | x_{i+1}) ].

A plain gradient would hold the networks' activations at all N steps. Here a backward pass goes back
one step at a time, with the adjoint a_i = d loss / d x_i,

    (a_i, grad theta) += grad of  a_{i+1} . x_{i+1}(x_i, z_i, theta) + l_i(x_i, x_{i+1}, theta),

which is the same gradient. Between the passes nothing is kept but x_0 and where the noise was,
from which the path is drawn again; the pass itself holds the states of the path, their noise and
the activations of one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unnoise.errors import InputError
from unnoise.kernels import LearnedDrift
from unnoise.kernels.drift import Vector
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, tensor


def path_bound(
    process: LearnedDrift,
    score: Vector,
    x0: State,
    times: Sequence[float],
    layout: Layout,
    noise: NoiseSource,
    *,
    replayed: bool = True,
) -> Float[Tensor, " batch"]:
    """(B,) nats: the bound of -log p(x_0) along one path.

    Parameters
    ----------
    score : r(x, t) of the way back, a network or any function. Parameters of functions that are no
        modules have no gradient.
    times : from 0 to 1, increasing.
    replayed : whether a backward pass draws the path again instead of keeping it; the value and the
        gradients are the same.

    Raises
    ------
    InputError : the times are no such path.
    """
    path = [float(t) for t in times]
    if len(path) < 2 or path[0] != 0 or path[-1] != 1 or any(s >= t for s, t in pairwise(path)):
        raise InputError(
            "the bound takes a path from the data to the prior",
            value=path[:5],
            limit="0 = t_0 < t_1 < ... < 1",
        )
    walk = _Walk(process, score, path, layout)
    x = tensor(x0)
    if replayed:
        modules = [*process.modules(), *([score] if isinstance(score, nn.Module) else [])]
        found = {id(p): p for m in modules for p in m.parameters() if p.requires_grad}
        apply: Callable[..., tuple[Tensor, Tensor]] = _Replayed.apply
        x, total = apply(walk, noise, x, *found.values())
    else:
        total = torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)
        for number in range(len(path) - 1):
            x, term = walk.step(number, x, walk.draw(noise))
            total = total + term
    return total - process.prior(layout).log_prob(x)


@final
class _Walk:
    """The steps of a path and their terms of the bound."""

    def __init__(
        self, process: LearnedDrift, score: Vector, path: list[float], layout: Layout
    ) -> None:
        self.process, self.score, self.path, self.layout = process, score, path, layout

    def __len__(self) -> int:
        return len(self.path) - 1

    def draw(self, noise: NoiseSource) -> Tensor:
        """The noise of a step."""
        return tensor(self.process.space.project(noise.normal(self.layout), self.layout))

    def step(self, number: int, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """x_{i+1} with the noise z, and log q(x_{i+1} | x_i) - log p(x_i | x_{i+1}), (B,)."""
        s, t = self.path[number : number + 2]
        law = self.process.transition(x, s, t, self.layout)
        after = law.mean + torch.as_tensor(law.scale).to(x.dtype) * z
        back = self.process.backward(after, self.score, t, s, self.layout)
        return after, (law.log_prob(after) - back.log_prob(x)).double()


class _Replayed(torch.autograd.Function):
    """(x_N, the sum of the terms) of a path, keeping x_0 alone."""

    @staticmethod
    def forward(
        ctx: Any, walk: _Walk, noise: NoiseSource, x0: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.walk, ctx.noise = walk, noise.copy()
        ctx.save_for_backward(x0, *parameters)
        x = x0
        total = torch.zeros(walk.layout.batch, dtype=torch.float64, device=walk.layout.device)
        for number in range(len(walk)):
            x, term = walk.step(number, x, walk.draw(noise))
            total = total + term
        return x, total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x0, *parameters = ctx.saved_tensors
        walk, noise = ctx.walk, ctx.noise.copy()
        adjoint, weight = gradients
        states, draws = [x0.detach()], []
        for number in range(len(walk)):  # the path again, without the networks' activations
            draws.append(walk.draw(noise))
            states.append(walk.step(number, states[-1], draws[-1])[0])
        totals = [torch.zeros_like(p) for p in parameters]
        for number in reversed(range(len(walk))):
            states.pop()
            with torch.enable_grad():
                x = states[-1].requires_grad_()
                after, term = walk.step(number, x, draws.pop())
                scalar = (adjoint * after).sum() + (weight * term).sum()
            adjoint, *found = torch.autograd.grad(
                scalar, [x, *parameters], allow_unused=True, materialize_grads=True
            )
            torch._foreach_add_(totals, found)
        return (None, None, adjoint, *totals)
