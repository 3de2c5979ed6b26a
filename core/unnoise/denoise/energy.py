"""Energy-based models: a denoiser from one number, the log density of noisy states.

    log q(x_t) = F_t(x_t) + a constant of t,   F_t(x) = f(x, t) / b_t^2,   b_t^2 = sigma_t^2 + w^2,

f a network with one output per sample and w the width of the finest structure of the data. Its
score is the gradient, and by Tweedie's formula

    E[x_0 | x_t] = (x_t + sigma_t^2 grad F_t(x_t)) / alpha_t.

What other denoisers do not have is F itself, of clean data too: how usual a state is among others.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unnoise.denoise.base import Condition, Denoiser, check_condition
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.spaces import Layout, State, Time, tensor


@final
class Energy(Denoiser):
    """p(x_0 | x_t) as the point E[x_0 | x_t] of an energy.

    Parameters
    ----------
    network : called as network(x_t, label, layout, condition) -> (B,), label the time in [0, 1] as
        float32, twice differentiable.
    kernel : a Gaussian one.
    width : w, in units of the states.

    Raises
    ------
    ConfigError : the kernel is not Gaussian, or no width.
    """

    kernel: GaussianKernel

    def __init__(self, network: nn.Module, kernel: TransitionKernel, width: float = 0.05) -> None:
        super().__init__()
        if not isinstance(kernel, GaussianKernel):
            raise ConfigError("an energy needs a GaussianKernel", value=type(kernel).__name__)
        if not 0 < width < math.inf:
            raise ConfigError("the width of the finest structure", value=width, limit="> 0")
        self.network = network
        self.kernel = kernel
        self.width = width

    def forward(self, x_t: State, t: Time, layout: Layout, condition: Condition = None) -> Dirac:
        x, schedule = tensor(x_t), self.kernel.schedule
        pull = layout.expand(schedule.sigma(t) ** 2, x) * self.score(x, t, layout, condition)
        return Dirac((x + pull) / layout.expand(schedule.alpha(t), x), layout)

    def log_density(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Float[Tensor, " batch"]:
        """(B,) log q(x_t) up to a number that depends on t alone, nats; t in [0, 1].

        Raises
        ------
        InputError : a condition that does not fit the batch.
        ConfigError : the network puts out something else than one number per sample.
        """
        return self._output(tensor(x_t), t, layout, condition) / self.sharpness(t)

    def score(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Float[Tensor, "rows ..."]:
        """grad log q(x_t), in the directions of the space; t in [0, 1]. Differentiable where
        gradients are enabled."""
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            x = tensor(x_t)
            x = x if x.requires_grad else x.detach().requires_grad_()
            total = self.log_density(x, t, layout, condition).sum()
            (found,) = torch.autograd.grad(total, x, create_graph=graph)
        return tensor(self.kernel.space.project(found, layout))

    def sharpness(self, t: Time) -> Time:
        """b_t^2."""
        return self.kernel.schedule.sigma(t) ** 2 + self.width**2

    def _output(self, x: Tensor, t: Time, layout: Layout, condition: Condition) -> Tensor:
        check_condition(condition, layout)
        label = torch.as_tensor(t, device=layout.device).to(torch.float32).expand(layout.batch)
        found: Tensor = self.network(x, label, layout, condition)
        if found.shape != (layout.batch,):
            raise ConfigError(
                "an energy is one number per sample",
                value=tuple(found.shape),
                limit=(layout.batch,),
            )
        return found
