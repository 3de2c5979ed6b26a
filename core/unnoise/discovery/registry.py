"""Who provides what: the healthy plugins' specs by kind and name.

Names. A name belongs to the core, else to the distribution called ``unnoise-NAME``, else to the
only one that claims it. Whoever else claims it does not get it and is reported; where no claim is
better than another nobody gets it, and asking for it is an error that names both.

UNNOISE_PLUGINS=a,b loads only these plugins (empty: none). Specs are light; `resolve` imports what
one points to.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import cast, final

from unnoise.compat import torch_untouched
from unnoise.discovery import hangs, settings
from unnoise.discovery.advice import diagnose, misspelt, unknown_domain
from unnoise.discovery.loader import Plugin, examine, installed, strict, warn
from unnoise.errors import PluginError, UnnoiseError, nearest
from unnoise.specs import KINDS, DomainInfo, Kind, PluginInfo, Spec, normal


def plugins() -> list[PluginInfo]:
    """Every plugin found, healthy or not, the core's own part first."""
    return [plugin.info for plugin in _registry().plugins]


def domains() -> dict[str, DomainInfo]:
    """The domains that can be used, by name. Imports neither torch nor any domain's library."""
    found = {}
    for spec, plugin in _registry().table["domains"].values():
        info = plugin.info
        found[spec.name] = DomainInfo(
            spec.name, spec.summary, info.name, info.distribution, info.version
        )
    return found


def packages() -> dict[str, tuple[str, str]]:
    """Name and version of the distribution of every plugin found, by its top package."""
    found = {"unnoise": _registry().plugins[0]}
    found |= {p.module.partition(".")[0]: p for p in _registry().plugins if p.module}
    return {package: (p.info.distribution, p.info.version) for package, p in found.items()}


def named(name: str) -> list[PluginInfo]:
    """The plugins that `name` (a plugin's or a distribution's) means; at least one."""
    return [plugin.info for plugin in _named(name)]


def specs_of(kind: Kind) -> dict[str, Spec]:
    """Everything of one kind that can be used, by name."""
    return {spec.name: spec for spec, _ in _registry().table[kind].values()}


def find(kind: Kind, name: str) -> Spec:
    """The spec of this name. Raises `PluginError` saying why there is none, and what to do."""
    if not isinstance(cast(object, name), str):
        raise PluginError(f"a {kind.removesuffix('s')} is found by its name", value=repr(name))
    registry = _registry()
    if claim := registry.table[kind].get(normal(name)):
        return claim[0]
    if quarrel := registry.contested.get((kind, normal(name))):
        raise quarrel
    what = kind.removesuffix("s")
    for info in plugins():
        if info.state != "ok" and normal(info.name) == normal(name):
            raise PluginError(
                f"{what} {name!r} is not available: its plugin is {info.state}: {info.reason}",
                fix=info.fix,
            )
    known = sorted(specs_of(kind))
    raise PluginError(
        f"there is no {what} of this name",
        value=name,
        limit=", ".join(known) or f"none, no installed plugin provides {kind}",
        fix=unknown_domain(name, known) if kind == "domains" else nearest(name, known),
    )


def resolve(spec: Spec) -> object:
    """Import what the spec points to. Raises `PluginError` when that fails."""
    module, _, path = spec.target.partition(":")
    with _ours(spec, module), torch_untouched():
        found: object = importlib.import_module(module)
    for attribute in path.split("."):
        with _ours(spec, module, found, attribute):
            found = getattr(found, attribute)
    return found


@contextmanager
def _ours(spec: Spec, module: str, holder: object = None, attribute: str = "") -> Iterator[None]:
    """What goes wrong while a target is imported, or an attribute of `holder` looked up, is said
    of the spec; strict: raised as it is."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if strict() or isinstance(error, UnnoiseError):
            raise
        if attribute and isinstance(error, AttributeError):
            problem = misspelt(module, holder, attribute)
        else:
            problem = diagnose(error, module, _distribution(spec))
        raise PluginError(
            f"{spec.name!r} ({spec.target}) cannot be loaded: {problem.message}", fix=problem.fix
        ) from error


def _distribution(spec: Spec) -> str:
    """The distribution that provides it, or ""."""
    claims = (claim for table in _registry().table.values() for claim in table.values())
    return next((plugin.info.distribution for own, plugin in claims if own is spec), "")


def enable(name: str) -> list[PluginInfo]:
    """Undo `disable`. `name` is a plugin's or a distribution's. Returns the plugins it names."""
    chosen = _named(name)
    disabled = settings.read_disabled()
    settings.write_disabled(disabled - {normal(name)} - {n for p in chosen for n in p.names})
    retry()
    return named(name)


def disable(name: str) -> list[PluginInfo]:
    """Load it no more, now and in later processes. `name` is a plugin's or a distribution's."""
    if any(plugin.is_core for plugin in _named(name)):
        raise PluginError("the core's own part cannot be switched off", value=name)
    settings.write_disabled(settings.read_disabled() | {normal(name)})
    reload()
    return named(name)


def retry() -> None:
    """`reload`, and plugins that hung when they were last loaded are tried again."""
    hangs.forget()
    reload()


def reload() -> None:
    """Forget what was found, so that the next question looks again."""
    _registry.cache_clear()


_Claim = tuple[Spec, Plugin]


@final
@dataclass(frozen=True)
class _Registry:
    plugins: list[Plugin]
    table: dict[Kind, dict[str, _Claim]]
    contested: dict[tuple[Kind, str], PluginError]


@cache
def _registry() -> _Registry:
    allowed, disabled = _allowed(), settings.read_disabled()
    by_name = sorted(
        installed(), key=lambda p: (not p.is_core, *map(normal, (p.info.name, str(p))))
    )
    found = [_filtered(plugin, allowed, disabled) for plugin in by_name]
    known = frozenset[str]().union(*(plugin.names for plugin in found))
    for name in sorted((allowed or frozenset()) - known):
        warn(f"UNNOISE_PLUGINS names {name!r}, which is not installed")
    return _settled([_examined(plugin, found) for plugin in found])


def _filtered(plugin: Plugin, allowed: frozenset[str] | None, disabled: frozenset[str]) -> Plugin:
    if plugin.is_core:
        return plugin
    name = plugin.info.name
    if allowed is not None and plugin.names.isdisjoint(allowed):
        return plugin.mark("ignored", "UNNOISE_PLUGINS leaves it out", "unset UNNOISE_PLUGINS")
    if not plugin.names.isdisjoint(disabled):
        return plugin.mark("disabled", "switched off by you", f"unnoise plugins enable {name}")
    return plugin


def _examined(plugin: Plugin, found: list[Plugin]) -> Plugin:
    if plugin.info.state != "ok":
        return plugin
    name = plugin.info.name
    rivals = [p for p in found if p.info.state == "ok" and normal(p.info.name) == normal(name)]
    if _owner(name, rivals) is plugin:
        return examine(plugin)
    return plugin.complain("conflict", _taken(f"the plugin name {name!r}", rivals))


def _settled(plugins: list[Plugin]) -> _Registry:
    """Give each name to its owner; every other claim is reported at the plugin that made it."""
    claims: dict[tuple[Kind, str], list[_Claim]] = {}
    for plugin in plugins:
        for kind, spec in plugin.specs:
            claims.setdefault((kind, normal(spec.name)), []).append((spec, plugin))
    registry = _Registry([], {kind: {} for kind in KINDS}, {})
    lost: dict[str, list[PluginError]] = {}
    for (kind, name), rivals in claims.items():
        owner = _owner(name, [plugin for _, plugin in rivals])
        quarrel = _taken(f"the name {name!r} ({kind})", [plugin for _, plugin in rivals])
        if owner is None:
            registry.contested[kind, name] = quarrel
        for spec, plugin in rivals:
            if plugin is owner:
                registry.table[kind][name] = spec, plugin
            else:
                lost.setdefault(plugin.info.name, []).append(quarrel)
    for plugin in plugins:
        if errors := lost.get(plugin.info.name):
            whole = "; ".join(error.message for error in errors)
            plugin = plugin.complain("conflict", PluginError(whole, fix=errors[0].fix))
        registry.plugins.append(plugin)
    return registry


def _owner(name: str, claimants: list[Plugin]) -> Plugin | None:
    """Whose name it is, if that can be said."""

    def rank(plugin: Plugin) -> int:
        if plugin.is_core:
            return 0
        return 1 if normal(plugin.info.distribution) == f"unnoise-{normal(name)}" else 2

    ranks = [rank(plugin) for plugin in claimants]
    return claimants[ranks.index(min(ranks))] if ranks.count(min(ranks)) == 1 else None


def _taken(what: str, by: list[Plugin]) -> PluginError:
    others = dict.fromkeys(plugin.info.distribution for plugin in by if not plugin.is_core)
    return PluginError(
        f"{what} is taken twice: by {' and by '.join(map(str, by))}",
        fix=f"uninstall one of them, or: unnoise plugins disable {' | '.join(others)}",
    )


def _allowed() -> frozenset[str] | None:
    listed = os.environ.get("UNNOISE_PLUGINS")
    if listed is None:
        return None
    return frozenset(normal(name.strip()) for name in listed.split(",") if name.strip())


def _named(name: str) -> list[Plugin]:
    found = _registry().plugins
    chosen = [plugin for plugin in found if normal(name) in plugin.names]
    if not chosen:
        known = sorted(plugin.info.name for plugin in found)
        raise PluginError(
            "no plugin of this name is installed",
            value=name,
            limit=", ".join(known),
            fix=nearest(name, known),
        )
    return chosen
