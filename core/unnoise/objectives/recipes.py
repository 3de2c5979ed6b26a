"""Objectives by name: one word in the configuration of any domain with a Gaussian kernel.

| goal | what is minimised | what else it takes |
|---|---|---|
| simple | the parametrization's own squared error (Ho 2020) | |
| min-snr | the error of x_0, weighted by min(SNR, 5) (Hang 2023) | |
| likelihood | the error of the noise at times uniform in log SNR: lambda = g^2 (Song 2021) | |
| vdm | the bound with a continuous clock (Kingma 2021) | learned schedule, label by log SNR, \
Fourier features |
| hybrid | simple + 0.001 of the bound, which trains the variance alone (Nichol & Dhariwal 2021) | \
outputs for the variance |

A `Recipe` holds the objective and everything that it asks for elsewhere in the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

from unnoise.denoise import ByLogSNR, GaussianParametrization, LearnedVariance, Parametrization
from unnoise.errors import ConfigError
from unnoise.kernels import LearnedSchedule, MonotoneInterior, Schedule
from unnoise.objectives.base import Objective
from unnoise.objectives.data_types import Continuous, DataType
from unnoise.objectives.objectives import Simple
from unnoise.objectives.times import ImportanceTimes
from unnoise.objectives.variational import SimpleWithBound
from unnoise.objectives.vdm import VDM
from unnoise.objectives.weighted import LikelihoodWeighted, MinSNR, Weighted

Goal: TypeAlias = Literal["simple", "min-snr", "likelihood", "vdm", "hybrid"]

CHAIN: Final = 1000
"""Steps of the chain whose bound is meant when nobody says: that of DDPM."""


@final
@dataclass(frozen=True, eq=False)
class Recipe:
    """What `recipe` says about a model.

    Attributes
    ----------
    objective : what is minimised.
    schedule, parametrization : for the kernel and the denoiser.
    outputs : how many numbers the network puts out for each entry of x_t, along the axis that
        `recipe` was told.
    exponents : of the `fourier_features` of x_t that the network is to see; none if empty.
    """

    objective: Objective
    schedule: Schedule
    parametrization: Parametrization
    outputs: int = 1
    exponents: tuple[int, ...] = ()


def recipe(
    goal: Goal,
    schedule: Schedule,
    parametrization: GaussianParametrization,
    data: DataType | None = None,
    axis: int = 1,
) -> Recipe:
    """How a model with this goal is built and trained.

    Parameters
    ----------
    schedule : the domain's; "vdm" learns its own in its place.
    parametrization : what the network predicts of x_0: Noise, V or Clean for "vdm".
    data : what x_0 is, for the goals that are bounds; Continuous() by default.
    axis : along which a network puts out its numbers for the variance.

    Raises
    ------
    ConfigError : no such goal.
    """
    data = Continuous() if data is None else data
    if goal == "simple":
        return Recipe(Simple(), schedule, parametrization)
    if goal == "min-snr":
        return Recipe(Weighted(MinSNR()), schedule, parametrization)
    if goal == "likelihood":
        weighted = LikelihoodWeighted(ImportanceTimes(1 / CHAIN))
        return Recipe(weighted, schedule, parametrization)
    if goal == "vdm":
        learned = LearnedSchedule(MonotoneInterior())
        return Recipe(VDM(data), learned, ByLogSNR(parametrization), exponents=(6, 7))
    if goal == "hybrid":
        steps = schedule.steps or CHAIN
        both = SimpleWithBound(steps=steps, data=data)
        variance = LearnedVariance(parametrization, steps, axis)
        return Recipe(both, schedule, variance, outputs=2)
    raise ConfigError("no such goal", value=goal, limit="simple, min-snr, likelihood, vdm, hybrid")
