"""Training objectives, likelihoods and bounds."""

from unnoise.objectives.adversarial import Adversarial, gradient_penalty
from unnoise.objectives.base import Objective, OnStates
from unnoise.objectives.batch import Batch
from unnoise.objectives.bound import Bound, bound, step_term
from unnoise.objectives.categorical import (
    MaskedDiffusion,
    OrderAgnosticLoss,
    ScoreEntropy,
    continuous_bound,
    loss_curve,
)
from unnoise.objectives.coded import data_bound, data_likelihood, log_probability, of_states
from unnoise.objectives.data_types import (
    Categories,
    Continuous,
    DataType,
    Dequantised,
    Prepared,
    ProductData,
    Quantised,
    Reading,
    bits_per_dimension,
    data_of_parts,
)
from unnoise.objectives.distillation import Distillation, distilled_target
from unnoise.objectives.likelihood import (
    ExactTrace,
    Hutchinson,
    Likelihood,
    Trace,
    level_likelihood,
    log_likelihood,
)
from unnoise.objectives.limit import limit_bound
from unnoise.objectives.objectives import Absolute, ConditionDropout, Error, Simple, Squared
from unnoise.objectives.paths import path_bound
from unnoise.objectives.recipes import CHAIN, Goal, Recipe, recipe
from unnoise.objectives.recovery import RecoveryLikelihood, auroc
from unnoise.objectives.sde_bound import sde_bound
from unnoise.objectives.times import (
    ImportanceTimes,
    LogVarianceTimes,
    SignalTimes,
    TimeLaw,
    UniformTimes,
    VarianceTimes,
)
from unnoise.objectives.turn import Elapsed, Networks, Turn
from unnoise.objectives.variational import Hybrid, SimpleWithBound, VariationalBound
from unnoise.objectives.vdm import VDM
from unnoise.objectives.weighted import (
    LikelihoodWeighted,
    MinSNR,
    TruncatedSNR,
    Weighted,
    Weighting,
)

__all__ = [
    "CHAIN",
    "VDM",
    "Absolute",
    "Adversarial",
    "Batch",
    "Bound",
    "Categories",
    "ConditionDropout",
    "Continuous",
    "DataType",
    "Dequantised",
    "Distillation",
    "Elapsed",
    "Error",
    "ExactTrace",
    "Goal",
    "Hutchinson",
    "Hybrid",
    "ImportanceTimes",
    "Likelihood",
    "LikelihoodWeighted",
    "LogVarianceTimes",
    "MaskedDiffusion",
    "MinSNR",
    "Networks",
    "Objective",
    "OnStates",
    "OrderAgnosticLoss",
    "Prepared",
    "ProductData",
    "Quantised",
    "Reading",
    "Recipe",
    "RecoveryLikelihood",
    "ScoreEntropy",
    "SignalTimes",
    "Simple",
    "SimpleWithBound",
    "Squared",
    "TimeLaw",
    "Trace",
    "TruncatedSNR",
    "Turn",
    "UniformTimes",
    "VarianceTimes",
    "VariationalBound",
    "Weighted",
    "Weighting",
    "auroc",
    "bits_per_dimension",
    "bound",
    "continuous_bound",
    "data_bound",
    "data_likelihood",
    "data_of_parts",
    "distilled_target",
    "gradient_penalty",
    "level_likelihood",
    "limit_bound",
    "log_likelihood",
    "log_probability",
    "loss_curve",
    "of_states",
    "path_bound",
    "recipe",
    "sde_bound",
    "step_term",
]
