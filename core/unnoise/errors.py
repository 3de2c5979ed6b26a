"""The errors of unnoise. Each says what was given, what is allowed, and what to do about it."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

_LONGEST = 300  # characters of a value in a message
_NAMED = 5  # files that a message names; it counts the others


class UnnoiseError(Exception):
    """Base of every error that unnoise raises on purpose.

    Parameters
    ----------
    message : what is wrong, in one sentence.
    value : the offending value, as given.
    limit : what would have been accepted.
    fix : what the user can do about it.
    """

    def __init__(
        self, message: str, *, value: object = None, limit: object = None, fix: str = ""
    ) -> None:
        super().__init__(message)
        self.message, self.value, self.limit, self.fix = message, value, limit, fix

    def __str__(self) -> str:
        parts = [self.message]
        if self.value is not None:
            parts.append(f"got {_shown(self.value)}")
        if self.limit is not None:
            parts.append(f"allowed: {self.limit}")
        if self.fix:
            parts.append(self.fix)
        return "; ".join(parts)


def _shown(value: object) -> str:
    """A value as a message has room for it: of a tensor, an array or a table its beginning."""
    text = " ".join(repr(value).split()) if not isinstance(value, str) else repr(value)
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 40]}... ({type(value).__name__}, {len(text)} characters)"


class InputError(UnnoiseError):
    """A value in a request, or data handed in, cannot be used."""


class ConfigError(UnnoiseError):
    """A configuration contradicts itself or names something unknown."""


class BundleError(UnnoiseError):
    """A saved model is missing, damaged, unsafe or of another version."""


class PluginError(UnnoiseError):
    """A plugin is missing, broken or claims a name that is taken."""


class IncompatibleSampler(UnnoiseError):
    """A sampler was asked to run on a kernel that it does not fit."""


class NonFiniteError(UnnoiseError):
    """NaN or infinity appeared in a state or a loss."""


class Cancelled(UnnoiseError):
    """The work was stopped by the caller or by its deadline."""


class LimitExceeded(UnnoiseError):
    """A request is larger than a stated limit."""


def nearest(name: str, options: Iterable[str]) -> str:
    """A suggestion to append to an error message: the closest of `options`, or nothing."""
    close = difflib.get_close_matches(name, list(options), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def unusable(
    bad: Sequence[tuple[Path | str, InputError]], total: int, what: str, skip: bool
) -> None:
    """Of `total` things called `what`, those in `bad` (files, or names) cannot be used, for the
    reasons beside them.

    Raises InputError, which names the first and counts all; with `skip` that is a warning, in the
    name of the caller's caller.
    """
    if not skip and len(bad) == 1:
        raise bad[0][1]
    text = f"{len(bad)} of {total} {what} cannot be used: {some([p for p, _ in bad])}"
    if not skip:
        raise InputError(
            text, value=str(bad[0][1]), fix="repair or remove them, or pass unreadable='skip'"
        )
    warnings.warn(text, stacklevel=3)


def left_out(found: Sequence[Path | str], why: str) -> None:
    """A warning, in the name of the caller's caller, that counts and names what of somebody's data
    is not used, `why` being the verb and its reason; nothing for nothing."""
    if found:
        warnings.warn(f"{len(found)} {why}: {some(found)}", stacklevel=3)


def some(found: Sequence[Path | str]) -> str:
    """The first names, and how many more there are."""
    names = ", ".join(repr(str(p)) if isinstance(p, Path) else p for p in found[:_NAMED])
    return names + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
