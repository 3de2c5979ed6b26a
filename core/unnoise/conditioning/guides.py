"""Cheaper than particles, and not exact: one state that is pulled towards the potential.

    E[x_0 | x_t] + scale (sigma_t^2 / alpha_t) grad log psi_t(x_t)

With the exact twist this is the exact denoiser of p(x_0 | g). With the two here it is not, however
many steps are taken: DPS believes the mean (Chung 2023), PiGDM a Gaussian around it whose width is
that of the schedule (Song 2023). `SMC` weighs such proposals, and is exact in the limit.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from unnoise.conditioning.potentials import Potential
from unnoise.conditioning.twists import Spread, Tweedie, Twist
from unnoise.denoise import ClassifierGuided, Condition, Denoiser
from unnoise.spaces import Layout, State, Time


def dps(denoiser: Denoiser, potential: Potential, scale: float = 1.0) -> ClassifierGuided:
    """Diffusion posterior sampling: a denoiser that follows the gradient of log g at its mean."""
    return _guided(denoiser, potential, Tweedie(), scale)


def pigdm(
    denoiser: Denoiser, potential: Potential, variance: float = 1.0, scale: float = 1.0
) -> ClassifierGuided:
    """Pseudo-inverse guidance: the gradient of log E g over a Gaussian around the mean; `variance`
    is that of the entries of the data."""
    return _guided(denoiser, potential, Spread(variance), scale)


def _guided(
    denoiser: Denoiser, potential: Potential, twist: Twist, scale: float
) -> ClassifierGuided:
    def log_prob(
        x_t: State, t: Time, layout: Layout, condition: Condition
    ) -> Float[Tensor, " batch"]:
        law = twist.law(denoiser(x_t, t, layout, condition), denoiser.kernel, t)
        return twist.log(potential, law, layout)

    return ClassifierGuided(denoiser, scale, log_prob)
