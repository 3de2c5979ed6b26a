"""Spectral regularisation: sum of the largest singular values of a module's layers.

With u, v the singular vectors of a weight W that belong to its largest singular value,

    s(W) = u^T W v,    grad_W s = u v^T,

and u, v by power iteration, v ~ W^T u, u ~ W v, one round a step on vectors that are kept
(Yoshida & Miyato 2017; Vahdat 2020 for variational autoencoders, whose divergence an encoder
without a bound on its slopes makes unstable).
"""

from __future__ import annotations

from typing import Final, final

import torch
from torch import Tensor, nn

from unnoise.errors import ConfigError

_LAYERS: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@final
class Spectral(nn.Module):
    """The sum over the linear and convolutional layers of modules that are built like `module`.

    Weights of one shape are looked at together. A convolution counts as the matrix of its weight,
    (channels out, channels in x places). The vectors are buffers: a memory that belongs to a run,
    as one of the networks "others".

    Parameters
    ----------
    module : tells names and shapes; it is not kept.
    iterations : of the power method at each call in training.
    """

    def __init__(self, module: nn.Module, iterations: int = 1) -> None:
        super().__init__()
        if iterations < 1:
            raise ConfigError("the power method needs a round", value=iterations, limit=">= 1")
        self.iterations = iterations
        shapes: dict[tuple[int, int], list[str]] = {}
        for name, layer in module.named_modules():
            if isinstance(layer, _LAYERS):
                rows, columns = layer.weight.flatten(1).shape
                shapes.setdefault((rows, columns), []).append(name)
        if not shapes:
            raise ConfigError(
                "spectral regularisation is of linear and convolutional layers, and there are none",
                value=type(module).__name__,
            )
        self.names = list(shapes.values())
        generator = torch.Generator().manual_seed(0)
        for number, ((rows, _), names) in enumerate(shapes.items()):
            start = torch.randn(len(names), rows, 1, generator=generator)
            self.register_buffer(f"u{number}", nn.functional.normalize(start, dim=1))

    def forward(self, module: nn.Module) -> Tensor:
        """Sum of the largest singular values, a number, with gradients to the weights."""
        layers = dict(module.named_modules())
        total = torch.zeros(())
        for number, names in enumerate(self.names):
            weights = torch.stack([_matrix(layers, name) for name in names])
            u = self.get_buffer(f"u{number}")
            with torch.no_grad():
                for _ in range(self.iterations):
                    v = nn.functional.normalize(weights.mT @ u, dim=1)
                    u = nn.functional.normalize(weights @ v, dim=1)
                if self.training:
                    self.get_buffer(f"u{number}").copy_(u)
            total = total.to(weights) + (u.mT @ weights @ v).sum()
        return total


def _matrix(layers: dict[str, nn.Module], name: str) -> Tensor:
    layer = layers.get(name)
    if not isinstance(layer, _LAYERS):
        raise ConfigError(
            "spectral regularisation was made for a module with another layer",
            value=name,
            fix="make it for this one: Spectral(module)",
        )
    return layer.weight.flatten(1)
