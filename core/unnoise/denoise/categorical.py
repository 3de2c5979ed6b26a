"""Ratios of probabilities as what a network for tokens puts out (Lou 2024, SEDD).

The concrete score s(x_t, t)_y = p_t(y) / p_t(x_t), for every token and every value y it may take
while the others stay, is a linear map of the law of x_0:

    s_y = sum_i p(x_0 = i | x_t) q(y | x_0 = i) / q(x_t | x_0 = i).

Absorbing, at a mask:  s_y = alpha / (1 - alpha) p(x_0 = y | x_t).
Uniform, b = (1 - alpha) / K:  s_y = sum_i p_i (alpha d_iy + b) / (alpha d_ix + b), and back:
p_t(y | other tokens) = s_y / sum s, of which p(x_0 = y | other tokens) = (p_t(y) - b) / alpha, and
Bayes' rule with q(x_t | x_0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.denoise.tokens import CategoricalParametrization, Masked, without
from unnoise.distributions import Categorical
from unnoise.errors import ConfigError
from unnoise.kernels import Absorbing, TransitionKernel, Uniform, corruption_of
from unnoise.spaces import Layout, State, Time, tensor

_FLOOR = 1e-9


@final
@dataclass(frozen=True)
class Ratio(CategoricalParametrization):
    """The output is log s(x_t, t)_y, for `Uniform`; for `Absorbing` it is log s_y - log(alpha / (1
    - alpha)), without the factor that a network would have to copy from its clock.

    What the output says of y = x_t, and of visible tokens and the mask in `Absorbing`, is ignored.
    Outputs of a network are the ratios of no law: for `Absorbing` p(x_0 | x_t) is s, normalised;
    for `Uniform` a p(x_0 = y | other tokens) that comes out below 1e-9 / K, or negative, is raised
    to that, and then normalised. The loss is the score entropy.
    """

    def check(self, kernel: TransitionKernel) -> None:
        corruption = moves(kernel)
        if isinstance(corruption, Uniform) and corruption.schedule.alpha(1.0) <= 0:
            raise ConfigError(
                "ratios tell nothing of x_0 at t = 1 where alpha is 0",
                value=corruption.schedule,
                fix="use Linear(1e-3)",
            )

    def law(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Categorical:
        x, out = tensor(x_t), tensor(output)
        corruption = moves(kernel)
        if isinstance(corruption, Absorbing):
            return Masked(corruption.mask).law(kernel, output, x_t, t, layout)
        a, b = _uniform(corruption, t, out, layout)
        p_t = _own(out.double(), x, 0.0).softmax(-1)
        p_0 = ((p_t - b) / a).clamp(min=_FLOOR / out.shape[-1])
        table = p_0.log() + _own(b.log().expand(p_0.shape), x, (a + b).log())
        return Categorical(table.log_softmax(-1).to(out.dtype), layout)

    def output(
        self, kernel: TransitionKernel, law: Categorical, x_t: State, t: Time, layout: Layout
    ) -> Float[Tensor, "*rows k"]:
        """What a network puts out whose law of x_0 this is: the inverse of `law`."""
        x, table = tensor(x_t), law.log_probs
        corruption = moves(kernel)
        if isinstance(corruption, Absorbing):
            return without(table, corruption.mask)
        a, b = _uniform(corruption, t, table, layout)
        log_p = table.double()
        elsewhere = -torch.expm1(log_p.gather(-1, x[..., None]))
        s = (b + elsewhere * a) / (a + b) + log_p.exp() * a / b
        return _own(s.log(), x, 0.0).to(table.dtype)

    def log_ratios(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Float[Tensor, "*rows k"]:
        """log s(x_t, t)_y; 0 at y = x_t. A visible token of `Absorbing` moves nowhere: -inf."""
        x, out = tensor(x_t), tensor(output)
        corruption = moves(kernel)
        if isinstance(corruption, Absorbing):
            alpha = _broadcast(corruption.schedule.alpha(t), out, layout)
            seen = (x != corruption.mask)[..., None]
            out = without(out + (alpha / (1 - alpha)).log().to(out.dtype), corruption.mask)
            out = out.masked_fill(seen, -math.inf)
        return _own(out, x, 0.0)

    def loss(
        self,
        kernel: TransitionKernel,
        output: State,
        x0: State,
        x_t: State,
        t: Time,
        layout: Layout,
    ) -> Float[Tensor, " batch"]:
        return score_entropy(kernel, output, x0, x_t, t, layout) / layout.sizes


def score_entropy(
    kernel: TransitionKernel, output: State, x0: State, x_t: State, t: Time, layout: Layout
) -> Float[Tensor, " batch"]:
    """(B,) the denoising score entropy of an output of `Ratio`, not negative on average:

        sum_y w_y [s_y - r_y log s_y + r_y (log r_y - 1)],  r_y = q_t(y | x_0) / q_t(x_t | x_0),

    summed over y other than x_t and over tokens. w = 1 / K for `Uniform`. For `Absorbing` masks
    alone count, with w = (1 - alpha) / alpha: sum_y s'_y - log s'_{x_0} - 1, s' without its factor.
    Times `entropy_rate` it is the rate of the variational bound. In float64.
    """
    x, clean, out = tensor(x_t), tensor(x0), tensor(output)
    corruption = moves(kernel)
    if isinstance(corruption, Absorbing):
        hidden = x == corruption.mask
        total = without(out.double(), corruption.mask).exp().sum(-1)
        here = out.gather(-1, clean[..., None])[..., 0].double()
        return layout.sum(torch.where(hidden, total - here - 1, 0.0))
    k = out.shape[-1]
    a, b = (v[..., 0] for v in _uniform(corruption, t, out, layout))
    log_s = _own(out.double(), x, 0.0)
    # r is b / (a + b) at an unmoved token; else 1, but (a + b) / b at x_0. s and r are 1 at x_t.
    still = x == clean
    r = torch.where(still, b / (a + b), torch.ones_like(b))
    extra = torch.where(still, 0.0, a / b)  # of r at x_0
    top = log_s.gather(-1, clean[..., None])[..., 0]
    spread = log_s.exp().sum(-1) - 1 - r * log_s.sum(-1) - extra * top
    known = (k - 1) * torch.where(still, _entropy(r), -1.0)
    known = known + torch.where(still, 0.0, _entropy(1 + a / b) + 1)
    return layout.sum((spread + known) / k)


def entropy_rate(kernel: TransitionKernel, t: Float64[Tensor, " batch"]) -> Float64[Tensor, "..."]:
    """-alpha' / (1 - alpha) for `Absorbing`, -alpha' / alpha for `Uniform`."""
    corruption = moves(kernel)
    schedule = corruption.schedule
    alpha, slope = torch.as_tensor(schedule.alpha(t)), torch.as_tensor(schedule.d_alpha(t))
    below = 1 - alpha if isinstance(corruption, Absorbing) else alpha
    return -slope / below.clamp(min=1e-300)


def moves(kernel: TransitionKernel) -> Absorbing | Uniform:
    """The kernel's corruption, or ConfigError: of the others ratios are not a linear map that
    is known in closed form."""
    corruption = corruption_of(kernel)
    if not isinstance(corruption, Absorbing | Uniform):
        raise ConfigError(
            "ratios need a CategoricalKernel with Absorbing or Uniform",
            value=type(corruption).__name__,
            fix="use the Logits parametrization",
        )
    return corruption


def _entropy(r: Tensor) -> Tensor:
    return r * (r.log() - 1)


def _uniform(
    corruption: Uniform, t: Time, like: Tensor, layout: Layout
) -> tuple[Float64[Tensor, "..."], Float64[Tensor, "..."]]:
    a = _broadcast(corruption.schedule.alpha(t), like, layout)
    return a, (1 - a) / like.shape[-1]


def _broadcast(v: Time, like: Tensor, layout: Layout) -> Float64[Tensor, "..."]:
    value = torch.as_tensor(v, dtype=torch.float64, device=like.device)
    if value.ndim == 0:
        return value.view((1,) * like.ndim)
    return torch.as_tensor(layout.expand(value, value.new_empty((1,) * like.ndim)))


def _own(table: Tensor, x: Tensor, value: float | Tensor) -> Tensor:
    """`table` with `value` in the column of x_t itself."""
    here = torch.arange(table.shape[-1], device=table.device) == x[..., None]
    return torch.where(here, torch.as_tensor(value, dtype=table.dtype, device=table.device), table)
