"""A domain by its name, and what it makes: looked at where it enters, so that nonsense from a
plugin is an error that says whose it is and not one from deep inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from unnoise.codecs import Codec
from unnoise.denoise import Denoiser
from unnoise.discovery.registry import find, resolve
from unnoise.display import Display
from unnoise.domain import Batch, Domain, Trainable
from unnoise.errors import PluginError, UnnoiseError, nearest
from unnoise.objectives import Objective
from unnoise.storage.files import readable

DEFAULTS = ("steps", "grid", "sampler")
"""What a domain may have defaults of."""


def domain_named(name: str) -> Domain:
    """The installed domain of this name; PluginError says what there is, or how to install it."""
    spec = find("domains", name)
    found = resolve(spec)
    try:
        domain = found() if isinstance(found, type) else found
    except UnnoiseError:
        raise
    except Exception as error:
        raise PluginError(
            f"the domain {name!r} cannot be made: {error}",
            value=spec.target,
            fix="its author implements what is missing",
        ) from error
    if not isinstance(domain, Domain):
        raise PluginError(f"domain {name!r} is not an unnoise Domain", value=type(domain).__name__)
    _check(domain, spec.name)
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


def built(domain: Trainable, configuration: Any) -> Denoiser:
    """`domain.build`; PluginError where it is no denoiser."""
    made: Denoiser = _of(
        domain, "build", domain.build(configuration), Denoiser, "wrap the network in one"
    )
    return made


def codec_of(domain: Trainable, configuration: Any) -> Codec:
    """`domain.codec`; PluginError where it is none."""
    made: Codec = _of(domain, "codec", domain.codec(configuration), Codec)
    return made


def objective_of(domain: Trainable, configuration: Any) -> Objective:
    """`domain.objective`; PluginError where it is none."""
    made: Objective = _of(domain, "objective", domain.objective(configuration), Objective)
    return made


def configuration_of(domain: Trainable, source: Any, options: Mapping[str, Any]) -> Any:
    """`domain.configure`; PluginError where it is no Configuration."""
    with readable("the data"):
        found = domain.configure(source, options)
    return _of(domain, "configure", found, domain.Configuration)


def dataset_of(
    domain: Trainable, source: Any, configuration: Any, part: Literal["train", "validation"]
) -> Any:
    """`domain.dataset`; InputError for what the operating system does not let it read."""
    with readable("the data"):
        return domain.dataset(source, configuration, part)


def things_of(domain: Trainable, source: Any, configuration: Any) -> Sequence[tuple[str, Any]]:
    """`domain.things`; InputError as of `dataset_of`."""
    with readable("the data"):
        return domain.things(source, configuration)


def collated(domain: Trainable, items: Sequence[Any]) -> Batch:
    """The batch that a domain makes of data items; PluginError where it is none of them."""
    batch = domain.collate(items)
    if not isinstance(batch, Batch) or batch.layout.batch != len(items):
        found = type(batch).__name__
        if isinstance(batch, Batch):
            found = f"a batch of {batch.layout.batch}"
        raise PluginError(
            f"collate of the domain {domain.name!r} must return a Batch of its {len(items)} items",
            value=found,
        )
    return batch


def defaults_of(domain: Trainable, configuration: Any) -> dict[str, Any]:
    """`domain.defaults`; PluginError where there are others than steps, grid and sampler."""
    found = _of(domain, "defaults", domain.defaults(configuration), Mapping)
    for name in found:
        if name not in DEFAULTS:
            raise PluginError(
                f"defaults of the domain {domain.name!r} has an unknown name",
                value=name,
                limit=", ".join(DEFAULTS),
                fix=nearest(str(name), DEFAULTS),
            )
    return dict(found)


def trial_of(domain: Trainable, configuration: Any, held_out: Any) -> Mapping[str, Any] | None:
    """`domain.trial`; PluginError where it is neither a mapping nor None."""
    found = domain.trial(configuration, held_out)
    return None if found is None else _of(domain, "trial", found, Mapping)


def _of(domain: Domain, method: str, made: object, kind: type, fix: str = "") -> Any:
    if not isinstance(made, kind):
        raise PluginError(
            f"{method} of the domain {domain.name!r} must return a {kind.__name__}",
            value=type(made).__name__,
            fix=fix,
        )
    return made


def _check(domain: Domain, name: str) -> None:
    """PluginError unless the class attributes of a domain are what they must be."""
    own = type(domain)
    kinds: list[tuple[str, type]] = [("Request", BaseModel)]
    if isinstance(domain, Trainable):
        kinds.append(("Configuration", BaseModel))
    for attribute, kind in kinds:
        found = getattr(own, attribute, None)
        if not isinstance(found, type) or not issubclass(found, kind):
            raise PluginError(
                f"{attribute} of the domain {name!r} is no subclass of pydantic.BaseModel",
                value=found,
                fix="its author writes one; its fields are what users may ask for",
            )
    called = getattr(domain, "name", None)
    if called != name:
        raise PluginError(
            f"the plugin calls this domain {name!r}, and the domain calls itself {called!r}",
            fix=f"its author gives both the same name in {own.__module__}",
        )
    if not isinstance(domain.display, Display):
        raise PluginError(
            f"display of the domain {name!r} is no Display", value=type(domain.display).__name__
        )
    if not isinstance(domain.demo, Mapping):
        raise PluginError(
            f"demo of the domain {name!r} is no mapping of a request's fields",
            value=type(domain.demo).__name__,
        )
