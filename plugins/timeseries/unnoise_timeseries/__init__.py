"""Time series for unnoise: data frames with holes are filled and continued, with uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["DiffusionForecaster", "DiffusionImputer"]

if TYPE_CHECKING:
    from unnoise_timeseries.estimators import DiffusionForecaster, DiffusionImputer


def __getattr__(name: str) -> Any:
    if name in __all__:
        from unnoise_timeseries import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
