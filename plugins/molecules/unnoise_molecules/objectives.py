"""What conformer networks are trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.denoise import Denoiser, NetworkDenoiser
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Objective
from unnoise.spaces import Layout, tensor
from unnoise_molecules.network_geodiff import DualEncoder, chain_rule, distances

LOCAL, GLOBAL = 5.0, 2.0
"""Weights of the two parts of GeoDiff's loss."""


@final
@dataclass(frozen=True)
class Concentrated(Objective):
    """The parametrization's own loss, at times that are below `split` with probability `share` and
    uniform on either side: structure is decided at small noise, and most of a run is spent there.

    With a `level`, noise sigma below it is sigma (eps + error / level) for a share `errors` of the
    samples, "error" in the condition being what is wrong with an embedding: see `couplings`.
    """

    split: float
    share: float = 0.85
    level: float | None = None
    errors: float = 0.75

    def __post_init__(self) -> None:
        if not (0 < self.split < 1 and 0 < self.share < 1):
            raise ConfigError("split and share lie between 0 and 1", value=(self.split, self.share))

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        if not isinstance(denoiser, NetworkDenoiser):
            raise ConfigError("only a NetworkDenoiser is trained", value=type(denoiser).__name__)
        kernel, parametrization, layout = denoiser.kernel, denoiser.parametrization, batch.layout
        u = 1 - noise.times().to(layout.device)
        below = self.split * u / self.share
        above = self.split + (1 - self.split) * (u - self.share) / (1 - self.share)
        t = torch.where(u < self.share, below, above)
        x_t = tensor(kernel.marginal(batch.x0, t, layout).sample(noise))
        if self.level is not None:
            x_t = x_t + self._error(kernel, batch, t, noise)
        output = denoiser.output(x_t, t, layout, batch.condition)
        return parametrization.loss(kernel, output, batch.x0, x_t, t, layout)

    def _error(
        self, kernel: TransitionKernel, batch: Batch, t: Tensor, noise: NoiseSource
    ) -> Tensor:
        layout, condition = batch.layout, batch.condition
        if not isinstance(kernel, GaussianKernel) or condition is None or self.level is None:
            raise ConfigError("errors of embeddings need a GaussianKernel and a condition")
        error = condition["error"]
        sigma = torch.as_tensor(kernel.schedule.sigma(t))
        alpha = torch.as_tensor(kernel.schedule.alpha(t))
        u = noise.uniform(Layout.dense(layout.batch, device=layout.device))
        with_it = (u < self.errors) & (sigma / alpha <= self.level)
        return layout.expand(torch.where(with_it, sigma / self.level, 0.0), error) * error


@final
@dataclass(frozen=True)
class DualDistance(Objective):
    """GeoDiff's loss (Xu 2022): 5 |F - G|^2 of the local pairs + 2 |F - G|^2 of the global ones, a
    mean over atoms. G has (d(x_0) - d(x_t)) / rho in the place of the network's scores.

    Times come in pairs t and 1 + 1/T - t: sample i of a batch of B with sample i + B/2.
    """

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        if not isinstance(denoiser, NetworkDenoiser) or not isinstance(
            denoiser.network, DualEncoder
        ):
            raise ConfigError("GeoDiff's loss is for its dual encoder", value=type(denoiser))
        kernel, layout = denoiser.kernel, batch.layout
        x0 = tensor(batch.x0)
        t = antithetic(noise.times(), kernel.steps or 1000).to(layout.device)
        x_t = kernel.marginal(x0, t, layout).sample(noise)
        parametrization = denoiser.parametrization
        x = tensor(parametrization.inputs(kernel, x_t, t, layout))
        rho = layout.expand(torch.as_tensor(parametrization.label(kernel, t)), x)
        total = x.new_zeros(layout.batch)
        parts = denoiser.network.scores(x, layout, batch.condition)
        for weight, found in zip((LOCAL, GLOBAL), parts, strict=True):
            i = found.index[0]
            aim = (distances(x0, found.index) - distances(x, found.index)) / rho[i]
            error = found.moves(x) - chain_rule(aim, x, found.index)
            total = total + weight * layout.sum(error**2)
        return total / layout.points


def antithetic(u: Tensor, steps: int) -> Tensor:
    """Times i / T for uniform numbers (B,) in [0, 1), the second half mirroring the first."""
    i = torch.ceil((1 - u) * steps)
    half = (len(i) + 1) // 2
    return torch.cat([i[:half], steps + 1 - i[: len(i) - half]]) / steps
