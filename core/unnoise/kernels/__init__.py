"""Processes, transition kernels, their schedules and corruptions."""

from unnoise.kernels.above import Above, Least, least
from unnoise.kernels.base import TransitionKernel
from unnoise.kernels.categorical import CategoricalKernel, corruption_of
from unnoise.kernels.chains import coarse
from unnoise.kernels.corruptions import Absorbing, BayesCorruption, Corruption, Uniform
from unnoise.kernels.dense import DenseCorruption, Matrices, RandomWalk
from unnoise.kernels.drift import LearnedDrift
from unnoise.kernels.gaussian import GaussianKernel
from unnoise.kernels.information import information_times, mutual_information
from unnoise.kernels.learned import Interior, LearnedSchedule, LinearInterior, MonotoneInterior
from unnoise.kernels.process import Process, check_time, check_times, training_times
from unnoise.kernels.product import ProductKernel
from unnoise.kernels.schedules import (
    VE,
    BetaTable,
    Geometric,
    Linear,
    Schedule,
    SubVP,
    VPCosine,
    VPLinear,
)
from unnoise.kernels.survival import CosineSurvival, Survival, SurvivalTable

__all__ = [
    "VE",
    "Above",
    "Absorbing",
    "BayesCorruption",
    "BetaTable",
    "CategoricalKernel",
    "Corruption",
    "CosineSurvival",
    "DenseCorruption",
    "GaussianKernel",
    "Geometric",
    "Interior",
    "LearnedDrift",
    "LearnedSchedule",
    "Least",
    "Linear",
    "LinearInterior",
    "Matrices",
    "MonotoneInterior",
    "Process",
    "ProductKernel",
    "RandomWalk",
    "Schedule",
    "SubVP",
    "Survival",
    "SurvivalTable",
    "TransitionKernel",
    "Uniform",
    "VPCosine",
    "VPLinear",
    "check_time",
    "check_times",
    "coarse",
    "corruption_of",
    "information_times",
    "least",
    "mutual_information",
    "training_times",
]
