"""Time series for unnoise: data frames with holes are filled and continued, with uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.1.0"
__all__ = ["EXAMPLE", "PUBLISHED", "DiffusionForecaster", "DiffusionImputer"]

EXAMPLE: Final = Path(__file__).parent / "beijing.csv"
"""18 days of hourly air quality and weather in Beijing with their real holes, one of 155 hours and
one of 76 (Chen, UCI Machine Learning Repository, CC-BY-4.0)."""

PUBLISHED: Final[dict[str, Any]] = {
    "prior": "standard",
    "parametrization": "noise",
    "targets": "mix",
    "dropout": 0.1,
}
"""CSDI as in its paper (Tashiro 2021), where the defaults differ: options of a fit. Its sampler is
`steps=50, sampler="ancestral", grid="uniform"`."""

if TYPE_CHECKING:
    from unnoise_timeseries.estimators import DiffusionForecaster, DiffusionImputer


def __getattr__(name: str) -> Any:
    if name in __all__:
        from unnoise_timeseries import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
