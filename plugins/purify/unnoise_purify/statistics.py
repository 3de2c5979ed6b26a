"""Counts of right answers: shares with their confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from scipy.stats import beta


@final
@dataclass(frozen=True)
class Share:
    """`right` of `total`.

    `low` and `high` are the exact interval of 95 % (Clopper & Pearson 1934) for pictures drawn at
    random; it knows nothing of other attacks.
    """

    right: int
    total: int

    @property
    def value(self) -> float:
        return self.right / self.total

    @property
    def low(self) -> float:
        return lower(self.right, self.total, 0.025)

    @property
    def high(self) -> float:
        return 1 - lower(self.total - self.right, self.total, 0.025)

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % ({100 * self.low:.0f} to {100 * self.high:.0f})"

    def json(self) -> dict[str, Any]:
        """As plain numbers."""
        return {
            "right": self.right,
            "total": self.total,
            "accuracy": self.value,
            "low": self.low,
            "high": self.high,
        }


def lower(right: int, total: int, alpha: float) -> float:
    """The p below which `right` or more of `total` have a probability of at most `alpha`."""
    return float(beta.ppf(alpha, right, total - right + 1)) if right else 0.0
