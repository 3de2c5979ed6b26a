"""Laws of x_0 whose variance is learned or chosen, so that `reverse` has the variance one wants.

A reverse step with the law N(m, v) of x_0 has the variance betatilde + c0^2 v (see
`GaussianKernel.bridge`). So betatilde itself is v = 0, a point, and DDPM's other choice, beta, is
v = sigma_t^2 / (alpha_t^2 + sigma_t^2): what is unknown of data of unit variance, at every step
count alike (for a variance-preserving process; Ho 2020 chooses it for such data). Everything
between is a law as well, and samplers need no mode for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.denoise.base import Condition, Denoiser
from unnoise.denoise.parametrizations import GaussianParametrization, Parametrization, expect
from unnoise.denoise.wrapped import Wrapper
from unnoise.distributions import Distribution, Gaussian
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.spaces import Layout, State, Time, tensor


@final
@dataclass(frozen=True)
class LearnedVariance(Parametrization):
    """The reverse variance interpolated between its bounds (Nichol & Dhariwal 2021),

        log Sigma = w log beta + (1 - w) log betatilde,    w = (output + 1) / 2,

    for steps of length 1 / `steps`; the law of x_0 is N(mean, v) with v = (Sigma - betatilde)/c0^2.
    At that step length `reverse` has the variance Sigma; at any other it has what the same
    uncertainty about x_0 implies. The last step has no betatilde: it takes that of the step before.

    The network puts out twice as many channels: `mean` reads the first half along `axis`, w the
    second. `loss` is that of the mean; the variance is trained by the bound, see
    `unnoise.objectives.SimpleWithBound`.
    """

    mean: GaussianParametrization
    steps: int = 1000
    axis: int = 1

    def check(self, kernel: TransitionKernel) -> None:
        self.mean.check(kernel)
        if self.steps < 2:
            raise ConfigError("the variance belongs to a chain of steps", value=self.steps)
        if kernel.steps not in (None, self.steps):
            raise ConfigError("the kernel has other steps", value=self.steps, limit=kernel.steps)

    def inputs(self, kernel: TransitionKernel, x_t: State, t: Time, layout: Layout) -> State:
        return self.mean.inputs(kernel, x_t, t, layout)

    def label(self, kernel: TransitionKernel, t: Time) -> Time:
        return self.mean.label(kernel, t)

    def check_output(self, kernel: TransitionKernel, output: State, x_t: State) -> None:
        shape = list(tensor(x_t).shape)
        shape[self.axis] *= 2
        expect(output, tuple(shape), "its state with twice the channels")

    def law(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Gaussian:
        first, second = self._halves(output)
        centre = tensor(self.mean.law(kernel, first, x_t, t, layout).mean)
        assert isinstance(kernel, GaussianKernel)
        weight = ((second + 1) / 2).double()
        low, high, point, gain = (
            layout.expand(v, weight)
            for v in _bounds(kernel.schedule, t, 1 / self.steps, layout.batch)
        )
        logs = torch.lerp(low.log().expand_as(weight), high.log().expand_as(weight), weight)
        variance = (logs.exp() - point).clamp(min=0) / gain**2
        std = variance.clamp(min=1e-20).sqrt().to(centre.dtype)
        return Gaussian(centre, std, kernel.space, layout)

    def loss(
        self,
        kernel: TransitionKernel,
        output: State,
        x0: State,
        x_t: State,
        t: Time,
        layout: Layout,
    ) -> Float[Tensor, " batch"]:
        return self.mean.loss(kernel, self._halves(output)[0], x0, x_t, t, layout)

    def _halves(self, output: State) -> tuple[Tensor, Tensor]:
        value = tensor(output)
        if value.shape[self.axis] % 2:
            raise ConfigError(
                "a network with a learned variance puts out twice the channels",
                value=value.shape[self.axis],
                limit="an even number",
            )
        first, second = value.chunk(2, self.axis)
        return first, second


class _Bounds(NamedTuple):
    """Of a reverse step: the two bounds, the posterior's variance, and c0."""

    low: Tensor
    high: Tensor
    point: Tensor
    gain: Tensor


def _bounds(schedule: Schedule, t: Time, step: float, batch: int) -> _Bounds:
    """betatilde, beta, betatilde and c0 of the step from t to t - step, as float64 (B,).

    In the last step the variance of the point prediction is 0, and the lower bound is the one of
    the step before.
    """
    now = torch.as_tensor(t, dtype=torch.float64).expand(batch)
    last = now < 1.5 * step
    s = torch.where(last, 0.0, now - step)
    beta, point, gain = _step(schedule, now, s)
    _, second, _ = _step(schedule, torch.full_like(now, 2 * step), torch.full_like(now, step))
    return _Bounds(torch.where(last, second, point), beta, point, gain)


def _step(schedule: Schedule, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """beta, betatilde and c0 of the step from t to s."""
    alpha_t, sigma_t = torch.as_tensor(schedule.alpha(t)), torch.as_tensor(schedule.sigma(t))
    alpha_s, sigma_s = torch.as_tensor(schedule.alpha(s)), torch.as_tensor(schedule.sigma(s))
    ratio = alpha_t / alpha_s
    beta = sigma_t**2 - (ratio * sigma_s) ** 2
    point = sigma_s**2 * beta / sigma_t**2
    return beta, point, alpha_s * beta / sigma_t**2


@final
class UnitVariance(Wrapper):
    """A denoiser whose law has the spread it would have for data of unit variance,
    v = sigma_t^2 / (alpha_t^2 + sigma_t^2): ancestral steps of a variance-preserving process then
    have DDPM's larger variance, beta, at every step count."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.kernel = denoiser.kernel
        if not isinstance(self.kernel, GaussianKernel):
            raise ConfigError("this needs a GaussianKernel", value=type(self.kernel).__name__)
        self.schedule = self.kernel.schedule

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    @property
    def fields(self) -> Mapping[str, Any]:
        return {}

    @classmethod
    def around(cls, denoiser: Denoiser, fields: Mapping[str, Any]) -> UnitVariance:
        return cls(denoiser)

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        mean = tensor(self.denoiser(x_t, t, layout, condition).mean)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        std = sigma / (alpha**2 + sigma**2) ** 0.5
        return Gaussian(mean, std, self.kernel.space, layout)
