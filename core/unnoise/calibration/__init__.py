"""How far what a model says can be trusted."""

from unnoise.calibration.conformal import conformal, flagged, typicality

__all__ = ["conformal", "flagged", "typicality"]
