"""Denoisers, parametrizations and guidance."""

from unnoise.denoise.base import Condition, Denoiser
from unnoise.denoise.guidance import ClassifierFree, ClassifierGuided
from unnoise.denoise.network import NetworkDenoiser
from unnoise.denoise.parametrizations import (
    EDM,
    Affine,
    CategoricalParametrization,
    Clean,
    Flow,
    GaussianParametrization,
    Joint,
    Logits,
    Masked,
    Noise,
    Parametrization,
    Score,
    V,
)

__all__ = [
    "EDM",
    "Affine",
    "CategoricalParametrization",
    "ClassifierFree",
    "ClassifierGuided",
    "Clean",
    "Condition",
    "Denoiser",
    "Flow",
    "GaussianParametrization",
    "Joint",
    "Logits",
    "Masked",
    "NetworkDenoiser",
    "Noise",
    "Parametrization",
    "Score",
    "V",
]
