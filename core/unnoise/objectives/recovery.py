"""Training of energies by the recovery likelihood (Gao 2021), and a use of their densities.

Of a level s and the next t, with x_s ~ q(x_s | x_0), x_t ~ q(x_t | x_s) and F_s = f(., s) / b_s^2,

    grad log p(x_s | x_t) = grad F_s(x_s) - E[grad F_s(x_s') | x_t],    x_s' ~ p(. | x_t),

in the parameters, so that f(x_s') - f(x_s), with x_s' drawn by Langevin's steps from x_t, has the
gradient of -b_s^2 log p(x_s | x_t): every level counts alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.denoise import Denoiser, Energy
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.objectives.base import Objective
from unnoise.objectives.batch import Batch
from unnoise.samplers import Diffusion, Recovery
from unnoise.spaces import tensor


@final
@dataclass(frozen=True)
class RecoveryLikelihood(Objective):
    """f(x_s') - f(x_s) of an `Energy`, s a random level of i / steps, i = 0 .. steps - 1. Its value
    is no bound of anything: near 0 model and data are hard to tell apart.

    Attributes
    ----------
    steps : of the chain; of a discrete kernel its own.
    sampler : the Langevin steps, which are also what draws samples of the model.
    """

    steps: int = 6
    sampler: Recovery = field(default_factory=Recovery)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError("a chain has steps", value=self.steps, limit=">= 1")

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        layout, kernel = batch.layout, denoiser.kernel
        if kernel.steps not in (None, self.steps):
            raise ConfigError(
                "the kernel is of another chain", value=self.steps, limit=kernel.steps
            )
        run = Diffusion(denoiser, layout, noise, batch.condition)
        self.sampler.check_denoiser(denoiser)
        assert isinstance(denoiser, Energy)
        number = (noise.times() * self.steps).long().to(layout.device)
        s, t = number.double() / self.steps, (number + 1).double() / self.steps
        x_s = kernel.noisy(batch.x0, s, layout, noise)
        x_t = kernel.transition(x_s, s, t, layout).sample(noise)
        with torch.no_grad():
            made = self.sampler.level(run, tensor(x_t), t, s)
        sharpness = torch.as_tensor(denoiser.sharpness(s))
        model = denoiser.log_density(made, s, layout, batch.condition)
        data = denoiser.log_density(x_s, s, layout, batch.condition)
        return sharpness * (model - data)


def auroc(usual: Float[Tensor, " some"], unusual: Float[Tensor, " others"]) -> float:
    """How often a usual sample has the larger log density of a pair, ties counting half: the area
    under the ROC curve (Mann & Whitney 1947). 1/2 is chance.

    Raises
    ------
    InputError : one of them is empty, or a density is not a number.
    """
    for values in (usual, unusual):
        if values.ndim != 1 or not len(values) or bool(values.isnan().any()):
            raise InputError(
                "an area under a curve needs numbers of both kinds", value=tuple(values.shape)
            )
    sorted_, high = unusual.double().sort().values, usual.double()
    below = torch.searchsorted(sorted_, high) + torch.searchsorted(sorted_, high, right=True)
    return float(below.double().mean()) / (2 * len(unusual))
