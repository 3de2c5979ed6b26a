"""A purifier as a preprocessor of the Adversarial Robustness Toolbox, which this module needs.

ART skips the forward of a defence that is written as an `nn.Sequential`, and leaves what it wraps
in eval mode; a `PreprocessorPyTorch` before its own classifier is the way that it means.
"""

from __future__ import annotations

import torch
from art.preprocessing.preprocessing import PreprocessorPyTorch  # type: ignore[import-not-found]
from torch import Tensor, nn

from unnoise_purify.defended import PurifiedClassifier
from unnoise_purify.draws import Draws
from unnoise_purify.gradients import Gradient
from unnoise_purify.purifier import Purifier


def preprocessor(
    purifier: Purifier, *, noise: Draws | None = None, gradient: Gradient | None = None
) -> PreprocessorPyTorch:
    """For `PyTorchClassifier(preprocessing_defences=[...])`, on pictures in [0, 1]."""
    alone = PurifiedClassifier(purifier, nn.Flatten(), noise=noise, gradient=gradient)
    return Purification(alone)


class Purification(PreprocessorPyTorch):  # type: ignore[misc]  # ART is not typed
    """Pictures to purified pictures, differentiably."""

    def __init__(self, defence: PurifiedClassifier) -> None:
        super().__init__(device_type="cpu", is_fitted=True, apply_fit=False, apply_predict=True)
        self.defence = defence
        self._device = next(defence.parameters()).device

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Purified pictures; the labels as they are."""
        noise = self.defence.noise.source(len(x))
        return self.defence.purified(x.to(torch.float32), noise), y
