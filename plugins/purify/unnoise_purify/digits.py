"""The classifier of digits that ships with the plugin: what there is to defend.

Three convolutions and two linear layers, 0.1 M parameters, for pictures (1, 28, 28) in [0, 1]. It
was trained on what the shipped model of the images domain was trained on, plainly, and knows of no
attack.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unnoise.storage.tensors import fit_weights, read_tensors

FOLDER: Final = Path(__file__).parent / "digits"
WEIGHTS: Final = FOLDER / "model.safetensors"
CARD: Final = FOLDER / "card.json"
SIZE: Final = (1, 28, 28)


@final
class DigitsNet(nn.Module):
    """Logits (B, 10) of pictures (B, 1, 28, 28) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, x: Float[Tensor, "batch 1 28 28"]) -> Float[Tensor, "batch 10"]:
        logits: Tensor = self.head(self.features((x - 0.1307) / 0.3081))
        return logits


def digits() -> DigitsNet:
    """The shipped classifier, in eval mode."""
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and thrown away
        network = DigitsNet()
    fit_weights(network, read_tensors(WEIGHTS), "the weights of the shipped classifier")
    return network.eval().requires_grad_(False)


def card() -> dict[str, Any]:
    """Data, licence, split, command and accuracy of the shipped classifier."""
    found: dict[str, Any] = json.loads(CARD.read_text(encoding="utf-8"))
    return found
