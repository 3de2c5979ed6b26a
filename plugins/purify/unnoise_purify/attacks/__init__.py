"""Attacks on random defences, as libraries lack them."""

from unnoise_purify.attacks.adaptive import Adaptive
from unnoise_purify.attacks.base import Attack, Attacked, Trace
from unnoise_purify.attacks.losses import CrossEntropy, Doubt, Loss, Margin, Towards
from unnoise_purify.attacks.norms import L2, Linf, Norm, norm_named
from unnoise_purify.attacks.pgd import PGD
from unnoise_purify.attacks.search import Square
from unnoise_purify.attacks.simple import RandomNoise, Transfer
from unnoise_purify.attacks.subspaces import Everything, LowFrequency, Subspace

__all__ = [
    "L2",
    "PGD",
    "Adaptive",
    "Attack",
    "Attacked",
    "CrossEntropy",
    "Doubt",
    "Everything",
    "Linf",
    "Loss",
    "LowFrequency",
    "Margin",
    "Norm",
    "RandomNoise",
    "Square",
    "Subspace",
    "Towards",
    "Trace",
    "Transfer",
    "norm_named",
]
