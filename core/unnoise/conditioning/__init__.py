"""Samples that obey something: potentials, sequential Monte Carlo, and cheaper ways that are not
exact."""

from __future__ import annotations

from unnoise.conditioning.guides import dps, pigdm
from unnoise.conditioning.languages import Language
from unnoise.conditioning.potentials import (
    All,
    Measurement,
    Potential,
    Property,
    Proposal,
    Restraint,
    Total,
    Within,
)
from unnoise.conditioning.smc import SMC
from unnoise.conditioning.twists import Bootstrap, Exact, Spread, Tweedie, Twist, Usual

__all__ = [
    "SMC",
    "All",
    "Bootstrap",
    "Exact",
    "Language",
    "Measurement",
    "Potential",
    "Property",
    "Proposal",
    "Restraint",
    "Spread",
    "Total",
    "Tweedie",
    "Twist",
    "Usual",
    "Within",
    "dps",
    "pigdm",
]
