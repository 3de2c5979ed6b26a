"""Denoisers, parametrizations and guidance."""

from unnoise.denoise.above import WholeNoise
from unnoise.denoise.analytic import AnalyticVariance, analytic_variance
from unnoise.denoise.base import Condition, Denoiser, check_condition
from unnoise.denoise.categorical import Ratio, entropy_rate, score_entropy
from unnoise.denoise.energy import Energy
from unnoise.denoise.features import fourier_features
from unnoise.denoise.generator import Generator
from unnoise.denoise.guidance import ClassifierFree, ClassifierGuided
from unnoise.denoise.labels import ByLogSNR
from unnoise.denoise.network import NetworkDenoiser, TokenNetwork
from unnoise.denoise.parametrizations import (
    Clean,
    Coefficients,
    Flow,
    GaussianParametrization,
    Joint,
    Noise,
    Parametrization,
    Preconditioned,
    Score,
    V,
    expect,
)
from unnoise.denoise.tempered import Tempered
from unnoise.denoise.tokens import CategoricalParametrization, Logits, Masked
from unnoise.denoise.variance import LearnedVariance, UnitVariance

__all__ = [
    "AnalyticVariance",
    "ByLogSNR",
    "CategoricalParametrization",
    "ClassifierFree",
    "ClassifierGuided",
    "Clean",
    "Coefficients",
    "Condition",
    "Denoiser",
    "Energy",
    "Flow",
    "GaussianParametrization",
    "Generator",
    "Joint",
    "LearnedVariance",
    "Logits",
    "Masked",
    "NetworkDenoiser",
    "Noise",
    "Parametrization",
    "Preconditioned",
    "Ratio",
    "Score",
    "Tempered",
    "TokenNetwork",
    "UnitVariance",
    "V",
    "WholeNoise",
    "analytic_variance",
    "check_condition",
    "entropy_rate",
    "expect",
    "fourier_features",
    "score_entropy",
]
