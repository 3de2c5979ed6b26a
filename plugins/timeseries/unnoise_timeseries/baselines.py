"""What a method has to beat: four ways to fill a frame without a model.

Each takes a frame of numbers, one row per time, and returns it with no missing cell where it can;
what a baseline cannot fill (nothing before, nothing at this time of the day) is filled by
interpolation, and that by the column's mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd


def interpolation(frame: pd.DataFrame, season: int = 1) -> pd.DataFrame:
    """A straight line between the neighbours in time; the nearest value at the ends."""
    found = pd.DataFrame(frame).astype("float64").reset_index(drop=True)
    found = found.interpolate("linear", limit_direction="both").fillna(found.mean())
    return found.set_axis(frame.index)


def last_value(frame: pd.DataFrame, season: int = 1) -> pd.DataFrame:
    """The last value before."""
    found = pd.DataFrame(frame).astype("float64").ffill()
    return found.where(found.notna(), interpolation(frame))


def seasonal_naive(frame: pd.DataFrame, season: int) -> pd.DataFrame:
    """The last value at the same place of the season, `season` rows before."""
    found = pd.DataFrame(frame).astype("float64").reset_index(drop=True)
    place = np.arange(len(found)) % season
    found = found.groupby(place).ffill().set_axis(frame.index)
    return found.where(found.notna(), interpolation(frame))


def season_mean(frame: pd.DataFrame, season: int) -> pd.DataFrame:
    """The mean of all values at the same place of the season: of the time of day, when a season
    is a day."""
    found = pd.DataFrame(frame).astype("float64").reset_index(drop=True)
    place = np.arange(len(found)) % season
    mean = found.groupby(place).transform("mean")
    found = found.where(found.notna(), mean).set_axis(frame.index)
    return found.where(found.notna(), interpolation(frame))


BASELINES: Final[Mapping[str, Callable[[pd.DataFrame, int], pd.DataFrame]]] = MappingProxyType(
    {
        "linear interpolation": interpolation,
        "last value": last_value,
        "seasonal naive": seasonal_naive,
        "mean of the time of day": season_mean,
    }
)
