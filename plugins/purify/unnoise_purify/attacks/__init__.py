"""Attacks on random defences, as libraries lack them."""

from unnoise_purify.attacks.base import Attack, Attacked, Trace
from unnoise_purify.attacks.losses import CrossEntropy, Loss, Margin
from unnoise_purify.attacks.norms import L2, Linf, Norm, norm_named
from unnoise_purify.attacks.pgd import PGD
from unnoise_purify.attacks.search import Square
from unnoise_purify.attacks.simple import RandomNoise, Transfer
from unnoise_purify.attacks.subspaces import Everything, LowFrequency, Subspace

__all__ = [
    "L2",
    "PGD",
    "Attack",
    "Attacked",
    "CrossEntropy",
    "Everything",
    "Linf",
    "Loss",
    "LowFrequency",
    "Margin",
    "Norm",
    "RandomNoise",
    "Square",
    "Subspace",
    "Trace",
    "Transfer",
    "norm_named",
]
