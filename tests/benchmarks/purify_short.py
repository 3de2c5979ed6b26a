"""What purify_likelihood.py and purify_guided.py share: short attacks that compare defences."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from torch import Tensor, nn

from unnoise_purify.attacks import PGD, Margin, norm_named
from unnoise_purify.attacks.losses import CrossEntropy
from unnoise_purify.gradients import Full
from unnoise_purify.robustness import measured
from unnoise_purify.scoring import OneShot

LOSSES = {"clean": None, "cross-entropy": CrossEntropy(), "margin": Margin()}


def words(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--device", default=None)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--eps", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--eot", type=int, default=2)
    return parser


def right(
    defence: nn.Module, x: Tensor, y: Tensor, told: argparse.Namespace
) -> Iterator[tuple[str, int]]:
    """How many of the pictures (B, C, H, W) with labels (B,) are still right: clean, and under PGD
    in l_inf through the full gradient of each loss, one answer each."""
    for what, loss in LOSSES.items():
        attack = None
        if loss is not None:
            attack = PGD(norm_named("l_inf"), told.eps, Full(), told.steps, told.eot, loss=loss)
        row = measured(defence, x, y, attack, scoring=OneShot(), batch_size=told.batch)
        yield what, row.once.right
