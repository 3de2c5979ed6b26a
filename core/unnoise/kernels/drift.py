"""A forward drift that is learned (Zhang & Chen 2021, DiffFlow).

    dx = f(x, t) dt + g(t) dw,    q(x_t | x_s) = N(x_s + f(x_s, s) (t - s), g(s)^2 (t - s)),

the step of Euler and Maruyama, so that what is destroyed first depends on the data. Such a chain
has no closed marginals: its states are drawn by walking (`Process.simulate`), and its law is
another one on another grid. It is walked back by the step with the score r(x, t) of its states,

    p(x_s | x_t) = N(x_t - (f(x_t, t) - g(s)^2 r(x_t, t)) (t - s), g(s)^2 (t - s)).

With the f and g of a VP process it is reverse diffusion; as g goes to 0 it becomes a normalising
flow of residual steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unnoise.distributions import Gaussian
from unnoise.errors import InputError
from unnoise.kernels.process import Process, check_times
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Euclidean, Layout, State, Time, tensor

Vector: TypeAlias = Callable[[Tensor, Tensor, Layout], Tensor]
"""(x (rows, ...), t (B,) float64, layout) -> a vector at each state, (rows, ...)."""


@final
@dataclass(frozen=True, eq=False)
class LearnedDrift(Process):
    """Euler-Maruyama steps of dx = f(x, t) dt + g(t) dw.

    Attributes
    ----------
    drift : f, a network or any function; see `Vector`.
    diffusion : g(t) > 0 of a time (B,), float64.
    space : of the states, to which drift and noise are projected.
    std : of the prior N(0, std^2), which a trained drift ends at.
    """

    drift: Vector
    diffusion: Callable[[Tensor], Tensor]
    space: DataSpace = field(default_factory=Euclidean)
    std: float = 1.0

    @property
    def steps(self) -> int | None:
        return None

    def modules(self) -> Iterable[nn.Module]:
        return [part for part in (self.drift, self.diffusion) if isinstance(part, nn.Module)]

    def transition(self, x_s: State, s: Time, t: Time, layout: Layout) -> Gaussian:
        """N(x_s + f(x_s, s) (t - s), g(s)^2 (t - s))."""
        check_times(s, t)
        x, start = tensor(x_s), self._time(s, layout)
        slope = self._vector(self.drift, x, start, layout)
        return self._step(x, slope, start, self._time(t, layout) - start, layout)

    def backward(self, x_t: State, score: Vector, t: Time, s: Time, layout: Layout) -> Gaussian:
        """p(x_s | x_t) with the score `score` of the states at t."""
        check_times(s, t)
        x, start, end = tensor(x_t), self._time(s, layout), self._time(t, layout)
        square = layout.expand(self.diffusion(start) ** 2, x).to(x.dtype)
        pull = square * self._vector(score, x, end, layout)
        slope = pull - self._vector(self.drift, x, end, layout)
        return self._step(x, slope, start, end - start, layout)

    def prior(self, layout: Layout) -> Gaussian:
        zero = torch.zeros(layout.shape, dtype=layout.dtype, device=layout.device)
        return Gaussian(zero, self.std, self.space, layout)

    def restore(
        self,
        x: State,
        score: Vector,
        times: Sequence[float],
        layout: Layout,
        noise: NoiseSource,
    ) -> Iterator[State]:
        """The way back from `x` at times[0]: one draw of `backward` per interval of the decreasing
        `times`, the last step without noise if it ends at 0."""
        path = [float(t) for t in times]
        if len(path) < 2 or any(t <= s for t, s in pairwise(path)):
            raise InputError("the way back has decreasing times", value=path[:5])
        for t, s in pairwise(path):
            law = self.backward(x, score, t, s, layout)
            x = law.mean if s == 0 else law.sample(noise)
            yield x

    def _step(
        self, x: Tensor, slope: Tensor, start: Tensor, length: Tensor, layout: Layout
    ) -> Gaussian:
        mean = x + layout.expand(length, x).to(x.dtype) * slope
        return Gaussian(mean, self.diffusion(start) * length.sqrt(), self.space, layout)

    def _vector(
        self, function: Vector, x: Tensor, t: Tensor, layout: Layout
    ) -> Float[Tensor, "rows ..."]:
        return tensor(self.space.project(function(x, t, layout), layout))

    @staticmethod
    def _time(t: Time, layout: Layout) -> Tensor:
        return torch.as_tensor(t, dtype=torch.float64, device=layout.device).expand(layout.batch)
