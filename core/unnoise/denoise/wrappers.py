"""The wrappers that a bundle may name, and the way from a denoiser to its description and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from unnoise.denoise.analytic import AnalyticVariance
from unnoise.denoise.base import Denoiser
from unnoise.denoise.variance import UnitVariance
from unnoise.denoise.wrapped import Wrapper
from unnoise.errors import BundleError

WRAPPERS: Final[Mapping[str, type[Wrapper]]] = MappingProxyType(
    {"analytic-variance": AnalyticVariance, "unit-variance": UnitVariance}
)


def described(denoiser: Denoiser) -> list[dict[str, Any]]:
    """Name and fields of what is around a denoiser, the innermost first."""
    found: list[dict[str, Any]] = []
    names = {kind: name for name, kind in WRAPPERS.items()}
    while isinstance(denoiser, Wrapper):
        found.insert(0, {"name": names[type(denoiser)], "fields": dict(denoiser.fields)})
        denoiser = denoiser.denoiser
    return found


def wrapped(denoiser: Denoiser, wrappers: Sequence[Mapping[str, Any]]) -> Denoiser:
    """`denoiser` inside what `described` said; its tensors are yet to be loaded.

    Raises
    ------
    BundleError : a name that this version does not know, or fields that do not fit it.
    """
    for one in wrappers:
        if one["name"] not in WRAPPERS:
            raise BundleError(
                "a denoiser is inside something that this version does not know",
                value=one["name"],
                limit=", ".join(WRAPPERS),
                fix="install the version of unnoise that wrote the bundle",
            )
        try:
            denoiser = WRAPPERS[one["name"]].around(denoiser, one["fields"])
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise BundleError(
                f"what is around the denoiser cannot be made: {type(error).__name__}: {error}",
                value=one,
            ) from error
    return denoiser
