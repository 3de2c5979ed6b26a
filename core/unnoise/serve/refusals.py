"""What a client is told when a request is refused: a status, and our error as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, final

from unnoise.errors import (
    Cancelled,
    InputError,
    LimitExceeded,
    NonFiniteError,
    UnnoiseError,
)

_FIELD: Final = re.compile(r"\b(?:unknown )?request field '([A-Za-z_]\w*)")
_STATUS: Final[Mapping[type[UnnoiseError], int]] = {Cancelled: 504, NonFiniteError: 422}
_SHOWN: Final = 1000  # characters of a value


@final
class Refusal(Exception):
    """An answer that is an error.

    Parameters
    ----------
    status : of HTTP.
    error : what is wrong.
    field : of the request that it is about, where one is known.
    again : seconds after which to try again, where that may help.
    """

    def __init__(
        self, status: int, error: UnnoiseError, field: str | None = None, again: int | None = None
    ) -> None:
        super().__init__(str(error))
        self.status, self.error, self.field, self.again = status, error, field, again

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        error = self.error
        return {
            "error": {
                "kind": type(error).__name__,
                "message": error.message,
                "value": _plain(error.value),
                "limit": _plain(error.limit),
                "fix": error.fix,
                "field": self.field,
                "text": str(error),
            }
        }

    @property
    def headers(self) -> dict[str, str]:
        """Those that belong to the status."""
        found = {} if self.again is None else {"Retry-After": str(self.again)}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def refusal(error: UnnoiseError, fields: Iterable[str] = ()) -> Refusal:
    """The answer to an error about a request that has these fields."""
    of_fields = not isinstance(error, Cancelled | NonFiniteError)  # of the run: no field is wrong
    field = field_of(error, fields) if of_fields else None
    return Refusal(_STATUS.get(type(error), 422), error, field)


def field_of(error: UnnoiseError, fields: Iterable[str]) -> str | None:
    """The field that an error is about: the one that it names as such, else the first of `fields`
    that its words name."""
    if found := _FIELD.search(error.message):
        return found[1]
    known = set(fields)
    for text in (error.message, error.value if isinstance(error.value, str) else "", error.fix):
        for word in re.findall(r"[A-Za-z_]\w*", text):
            if word in known:
                return str(word)
    return None


def too_large(what: str, value: object, limit: object, fix: str) -> Refusal:
    """Of a body or its files."""
    return Refusal(413, LimitExceeded(what, value=value, limit=limit, fix=fix))


def wrong(what: str, status: int = 422, field: str | None = None, **more: Any) -> Refusal:
    """Of anything else in a request."""
    return Refusal(status, InputError(what, **more), field)


def _plain(value: object) -> Any:
    """As JSON has it."""
    if value is None or isinstance(value, bool | int | float):
        return value if value == value and abs(value or 0) < 2**53 else str(value)
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
