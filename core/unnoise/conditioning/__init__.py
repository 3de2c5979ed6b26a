"""Samples that obey something: potentials, sequential Monte Carlo, and cheaper ways that are not
exact."""

from __future__ import annotations

from unnoise.conditioning.guides import diffpir, dps, mmps, pigdm
from unnoise.conditioning.languages import Language
from unnoise.conditioning.operators import Blur, Downsample, Operator, operator_named
from unnoise.conditioning.potentials import (
    Measurement,
    Potential,
    Property,
    Proposal,
    Total,
    Within,
)
from unnoise.conditioning.renoised import Renoised
from unnoise.conditioning.restraints import Restraint, Torsion
from unnoise.conditioning.smc import SMC
from unnoise.conditioning.together import All, Part
from unnoise.conditioning.twists import Bootstrap, Exact, Spread, Tweedie, Twist, Usual

__all__ = [
    "SMC",
    "All",
    "Blur",
    "Bootstrap",
    "Downsample",
    "Exact",
    "Language",
    "Measurement",
    "Operator",
    "Part",
    "Potential",
    "Property",
    "Proposal",
    "Renoised",
    "Restraint",
    "Spread",
    "Torsion",
    "Total",
    "Tweedie",
    "Twist",
    "Usual",
    "Within",
    "diffpir",
    "dps",
    "mmps",
    "operator_named",
    "pigdm",
]
