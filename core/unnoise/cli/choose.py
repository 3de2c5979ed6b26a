"""Commands whose first word is a domain, from which their flags follow."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from unnoise.cli.parser import parse
from unnoise.discovery import registry
from unnoise.domain import Domain
from unnoise.errors import InputError

Flags = list[inspect.Parameter]
D = TypeVar("D", bound=Domain)


def chosen(
    command: str,
    about: str,
    words: Sequence[str],
    common: Flags,
    own: Callable[[D], Flags],
    named: Callable[[str], D],
) -> tuple[D, dict[str, Any]] | None:
    """The domain, found by `named`, and the flags that were given; None when help was shown."""
    if not words or words[0] in ("-h", "--help"):
        known = ", ".join(registry.domains()) or "none, pip install unnoise-images"
        about = f"{about}\n\nDOMAIN is one of: {known}. Each adds flags of its own."
        parse(f"unnoise {command} DOMAIN", about, common, ["--help"])
        return None
    if words[0].startswith("-"):
        raise InputError(
            "the domain comes first", value=words[0], fix=f"unnoise {command} DOMAIN --help"
        )
    domain = named(words[0])
    name = f"unnoise {command} {words[0]}"
    given = parse(name, about, [*common, *own(domain)], words[1:])
    return None if given is None else (domain, given)
