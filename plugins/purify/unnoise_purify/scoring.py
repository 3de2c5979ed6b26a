"""How often a picture is asked about before it counts as right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from unnoise.errors import InputError


class Scoring(ABC):
    """Closed: `OneShot`, `Repeated`."""

    @property
    @abstractmethod
    def queries(self) -> int:
        """Answers to a picture, all of which must be right."""


@final
@dataclass(frozen=True)
class OneShot(Scoring):
    """Once."""

    @property
    def queries(self) -> int:
        return 1


@final
@dataclass(frozen=True)
class Repeated(Scoring):
    """As often as `times`; the report gives the first answer alone, too."""

    times: int = 10

    def __post_init__(self) -> None:
        if self.times < 2:
            raise InputError("repeated scoring asks at least twice", value=self.times, limit=">= 2")

    @property
    def queries(self) -> int:
        return self.times


def scoring_named(name: str | Scoring) -> Scoring:
    """ "one-shot" or "repeated"."""
    if isinstance(name, Scoring):
        return name
    if name not in ("one-shot", "repeated"):
        raise InputError("there is no such scoring", value=name, limit="one-shot, repeated")
    return OneShot() if name == "one-shot" else Repeated()
