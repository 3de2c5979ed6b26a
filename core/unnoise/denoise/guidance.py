"""Guidance: denoisers around denoisers.

    classifier-free:  E = E_u + w (E_c - E_u),   for tokens  log p = log p_u + w (log p_c - log p_u)
    by a classifier:  E = E[x_0 | x_t] + w (sigma_t^2 / alpha_t) grad log p(y | x_t)

with E the mean of x_0, c given the condition and u without it. On eps, on the score and on v the
rule is the same, because all are affine in x_0 with coefficients of t alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

import torch
from torch import Tensor

from unnoise import distributions
from unnoise.denoise.base import Condition, Denoiser, check_range, clipped
from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.spaces import Layout, State, Time, tensor


@final
class ClassifierFree(Denoiser):
    """Classifier-free guidance: prediction = u + scale (c - u) (Ho & Salimans 2022).

    c is the prediction with the given condition, u the one with `unconditional`; the rule acts on
    E[x_0] for real data (the same as on eps), on log probabilities for tokens. Scale 1 is c,
    scale 0 is u.

    Parameters
    ----------
    unconditional : the condition that stands for "none"; rows are repeated over the batch.
    clip : clamp the extrapolated mean of x_0 to this range, which it may leave.

    Raises
    ------
    ConfigError : the range does not fit the kernel.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        unconditional: Mapping[str, Tensor],
        clip: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        check_range(clip, denoiser.kernel)
        self.denoiser = denoiser
        self.kernel = denoiser.kernel
        self.scale = scale
        self.unconditional = dict(unconditional)
        self.clip = clip

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations * (1 if self.scale in (0.0, 1.0) else 2)

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        if self.scale == 1.0:
            return self.denoiser(x_t, t, layout, condition)
        none = {
            name: value.to(layout.device).expand(layout.batch, *value.shape[1:])
            for name, value in self.unconditional.items()
        }
        u = self.denoiser(x_t, t, layout, none)
        if self.scale == 0.0:
            return u
        law = _extrapolate(u, self.denoiser(x_t, t, layout, condition), self.scale)
        return clipped(law, self.clip, layout)


@final
class ClassifierGuided(Denoiser):
    """Classifier guidance: E[x_0] + scale (sigma^2 / alpha) grad log p(y | x_t)
    (Dhariwal & Nichol 2021), for Gaussian kernels.

    Parameters
    ----------
    log_prob : (x_t, t, layout, condition) -> (B,) log p(y | x_t), differentiable in x_t.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        log_prob: Callable[[Tensor, Time, Layout, Condition], Tensor],
    ) -> None:
        super().__init__()
        if not isinstance(denoiser.kernel, GaussianKernel):
            raise ConfigError(
                "classifier guidance needs a gradient in x_t, so a GaussianKernel",
                value=type(denoiser.kernel).__name__,
                fix="use ClassifierFree",
            )
        if float(denoiser.kernel.schedule.alpha(1.0)) == 0:
            raise ConfigError(
                "classifier guidance cannot move x_0 at t = 1 where alpha is 0",
                value=type(denoiser.kernel.schedule).__name__,
                fix="use ClassifierFree, or a schedule that keeps some signal",
            )
        self.denoiser = denoiser
        self.kernel = denoiser.kernel
        self.schedule = denoiser.kernel.schedule
        self.scale = scale
        self.log_prob = log_prob

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        x_t = tensor(x_t)
        with torch.enable_grad():
            x = x_t if x_t.requires_grad else x_t.detach().requires_grad_()
            value = self.log_prob(x, t, layout, condition).sum()
            (gradient,) = torch.autograd.grad(value, x, create_graph=x_t.requires_grad)
        gradient = tensor(self.kernel.space.project(gradient, layout))
        law = self.denoiser(x_t, t, layout, condition)
        weight = self.scale * self.schedule.sigma(t) ** 2 / self.schedule.alpha(t)
        mean = tensor(law.mean) + layout.expand(weight, x_t) * gradient
        if isinstance(law, Gaussian):
            return Gaussian(mean, law.std, law.space, law.layout)
        return Dirac(mean, layout)


def _extrapolate(u: Distribution, c: Distribution, scale: float) -> Distribution:
    if isinstance(u, distributions.Product) and isinstance(c, distributions.Product):
        return distributions.Product(
            {name: _extrapolate(u.parts[name], c.parts[name], scale) for name in c.parts}
        )
    if isinstance(u, Categorical) and isinstance(c, Categorical):
        # what either rules out stays out (no inf - inf), unless nothing would be left
        out = torch.isinf(u.log_probs) | torch.isinf(c.log_probs)
        logits = torch.lerp(u.log_probs, c.log_probs, scale).masked_fill(out, -torch.inf)
        logits = torch.where(out.all(-1, keepdim=True), c.log_probs, logits)
        return Categorical.from_logits(logits, c.layout)
    mean = torch.lerp(tensor(u.mean), tensor(c.mean), scale)
    if isinstance(c, Gaussian):
        return Gaussian(mean, c.std, c.space, c.layout)
    return Dirac(mean, getattr(c, "layout", None))
