"""The mutual information between data and a noisy token, and clocks that run with it.

    I(x_0; x_t) = sum_ij p0_i q(x_t = j | x_0 = i) log[q(x_t = j | x_0 = i) / p_t(j)],
    p_t(j) = sum_i p0_i q(x_t = j | x_0 = i).

It is H(x_0) at t = 0 and falls to what the prior knows of the data at t = 1, 0 if all is forgotten.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from unnoise.errors import ConfigError, InputError
from unnoise.kernels.corruptions import Corruption
from unnoise.spaces import Layout


def mutual_information(corruption: Corruption, p0: Shaped[Tensor, " k"], t: float) -> float:
    """I(x_0; x_t) in nats, for a token with probabilities `p0` at time 0."""
    p0 = _probabilities(corruption, p0)
    k = len(p0)
    layout = Layout.dense(k, dtype=torch.int64)
    log_q = corruption.log_rows(torch.arange(k), 0.0, t, k, layout)
    joint = p0[:, None] * log_q.exp()
    log_p = joint.sum(0).log()
    return float(torch.where(joint > 0, joint * (log_q - log_p), 0.0).sum())


def information_times(
    corruption: Corruption, p0: Shaped[Tensor, " k"], steps: int
) -> Float64[Tensor, " times"]:
    """Times t_0 = 0 .. t_T = 1 at which I(x_0; x_t) = (1 - i / T) H(x_0).

    Steps between them destroy the same information each: the mutual-information schedule of
    Austin 2021. For `Absorbing` that is the rate 1 / (T - i + 1), whatever its own schedule.
    Reversed, they are a grid for sampling.

    Raises
    ------
    ConfigError : the corruption keeps more than one step's information at time 1.
    """
    from scipy.optimize import brentq  # slow to import

    if steps < 1:
        raise InputError("steps must be at least 1", value=steps, limit=">= 1")
    entropy = mutual_information(corruption, p0, 0.0)
    left = mutual_information(corruption, p0, 1.0)
    if not left < entropy / steps:
        raise ConfigError(
            "the corruption keeps too much information at time 1",
            value=f"{left:.3g} nats",
            limit=f"below {entropy / steps:.3g}",
            fix="take fewer steps, or a schedule that ends nearer to 0",
        )

    def excess(t: float, share: float) -> float:
        return mutual_information(corruption, p0, t) - share * entropy

    inner = [brentq(excess, 0.0, 1.0, args=(1 - i / steps,)) for i in range(1, steps)]
    return torch.tensor([0.0, *inner, 1.0], dtype=torch.float64)


def _probabilities(corruption: Corruption, p0: Tensor) -> Tensor:
    p = p0.double()
    if p.ndim != 1 or not (p >= 0).all() or not abs(p.sum().item() - 1) < 1e-6:
        raise InputError("p0 is one row of probabilities that sum to 1", value=tuple(p0.shape))
    corruption.check(len(p))
    return p / p.sum()
