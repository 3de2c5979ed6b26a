"""A domain by its name."""

from __future__ import annotations

from unnoise.discovery.registry import find, resolve
from unnoise.domain import Domain, Trainable
from unnoise.errors import PluginError


def domain_named(name: str) -> Domain:
    """The installed domain of this name; PluginError says what there is, or how to install it."""
    found = resolve(find("domains", name))
    domain = found() if isinstance(found, type) else found
    if not isinstance(domain, Domain):
        raise PluginError(f"domain {name!r} is not an unnoise Domain", value=type(domain).__name__)
    return domain


def trainable_named(name: str) -> Trainable:
    """As `domain_named`, and it has models of its own."""
    domain = domain_named(name)
    if not isinstance(domain, Trainable):
        raise PluginError(
            f"the domain {name!r} has no models of its own",
            fix=f"it runs on those of {', '.join(domain.adopt)}",
        )
    return domain
