"""A domain by its name."""

from __future__ import annotations

from unnoise.discovery.registry import find, resolve
from unnoise.domain import Domain
from unnoise.errors import PluginError


def domain_named(name: str) -> Domain:
    """The installed domain of this name; PluginError says what there is, or how to install it."""
    found = resolve(find("domains", name))
    domain = found() if isinstance(found, type) else found
    if not isinstance(domain, Domain):
        raise PluginError(f"domain {name!r} is not an unnoise Domain", value=type(domain).__name__)
    return domain
