"""How far what a model says can be trusted: p-values of items, and tests of its uncertainty."""

from unnoise.calibration.conformal import conformal, flagged, typicality
from unnoise.calibration.coverage import (
    ERRORS,
    Coverage,
    calibrated,
    coverage,
    planted,
    power,
    ranks_by,
    ranks_of,
)
from unnoise.calibration.ranks import Ranked, Verdict, ranked, verdict

__all__ = [
    "ERRORS",
    "Coverage",
    "Ranked",
    "Verdict",
    "calibrated",
    "conformal",
    "coverage",
    "flagged",
    "planted",
    "power",
    "ranked",
    "ranks_by",
    "ranks_of",
    "typicality",
    "verdict",
]
