"""Code of plugins that changes while Python runs: in a notebook, for those who write them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

from unnoise.discovery import registry
from unnoise.discovery.advice import diagnose
from unnoise.discovery.loader import strict
from unnoise.errors import PluginError
from unnoise.specs import PluginInfo


def loaded() -> dict[str, object]:
    """The modules of plugins that are imported, each with a mark that another execution of it, by
    `importlib.reload` or `reimport`, replaces."""
    return {name: sys.modules[name].__spec__ for name in _modules(_tops(registry.plugins()))}


def unchanged(marks: Mapping[str, object]) -> bool:
    """Whether the modules are still those that `loaded` saw."""
    return all(
        name in sys.modules and sys.modules[name].__spec__ is mark for name, mark in marks.items()
    )


def reimport(name: str | None = None) -> list[PluginInfo]:
    """Import the modules of a plugin anew, or those of all; look again for what is installed.

    Raises
    ------
    PluginError : there is no such plugin, it is the core's own part, or a module cannot be
        imported as it is now.
    """
    chosen = registry.plugins() if name is None else registry.named(name)
    if name is not None and any(info.distribution == "unnoise" for info in chosen):
        raise PluginError("the core is not loaded again", value=name, fix="restart Python")
    modules = _modules(_tops(chosen))
    for module in modules:
        del sys.modules[module]
    importlib.invalidate_caches()
    registry.retry()
    for module in modules:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            if strict():
                raise
            problem = diagnose(error, module)
            raise PluginError(
                f"{module} cannot be imported: {problem.message}", fix=problem.fix
            ) from error
    return registry.plugins() if name is None else registry.named(name)


def _tops(infos: list[PluginInfo]) -> set[str]:
    """The packages of these plugins, but for the core and what the user switched off."""
    names = {
        (info.distribution, info.version)
        for info in infos
        if info.distribution != "unnoise" and info.state not in ("disabled", "ignored")
    }
    return {top for top, owner in registry.packages().items() if owner in names}


def _modules(tops: set[str]) -> list[str]:
    return sorted(name for name in sys.modules if name.partition(".")[0] in tops)
