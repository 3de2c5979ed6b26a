"""What went wrong while a plugin was imported, and what may be advised about it.

`pip install NAME` is code from whoever registered NAME. It is advised for the distributions of this
project alone, and never for a name that somebody mistyped, that an import statement says (`PIL` and
`sklearn` are not what they are installed by), or that another author chose.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import pkgutil
import re
import sys
from collections.abc import Iterable
from typing import Final

from pluggy import PluginValidationError

from unnoise.errors import PluginError, nearest
from unnoise.specs import KINDS, normal

OWN: Final = (
    *("audio", "images", "latent", "molecules", "purify", "text", "text2image", "timeseries"),
)
"""The plugins of this project, each the distribution unnoise-NAME and the domain NAME."""


def to_install(name: str) -> str:
    """How a domain of this project is installed; empty for every other name."""
    return f"pip install unnoise-{normal(name)}" if normal(name) in OWN else ""


def to_update(distribution: str) -> str:
    """How a distribution gets another version: the command, where it is one of this project's."""
    known = {"unnoise", *(f"unnoise-{name}" for name in OWN)}
    if normal(distribution) in known:
        return f"pip install -U {normal(distribution)}"
    return f"get a version of {distribution} for it from where you have it from"


def unknown_domain(name: str, installed: Iterable[str]) -> str:
    """The installed domain that was meant, or that of this project and how to install it."""
    if normal(name) in OWN:
        return f"to install it: {to_install(name)}"
    meant = nearest(name, installed)
    if not meant and (close := difflib.get_close_matches(normal(name), OWN, n=1)):
        return f"did you mean {close[0]!r}? to install it: {to_install(close[0])}"
    return meant


def diagnose(error: BaseException, wanted: str = "", distribution: str = "") -> PluginError:
    """What an exception from a plugin's code means, and what to do about it.

    Parameters
    ----------
    wanted : the module that was asked for, by a target or an entry point.
    distribution : the plugin's, for what it says about the libraries that it needs.
    """
    if isinstance(error, PluginError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing(error.name, wanted, distribution)
    fix = ""
    if isinstance(error, PluginValidationError):
        hooks = ", ".join(f"unnoise_{kind}" for kind in KINDS)
        fix = f"its authors must use the hooks there are, none with an argument: {hooks}"
    return PluginError(one_line(f"{type(error).__name__}: {text(error)}"), fix=fix)


def misspelt(module: str, holder: object, attribute: str) -> PluginError:
    """`holder`, the module or a class in it, lacks the attribute that a target names."""
    known = [name for name in dir(holder) if not name.startswith("_")]
    return PluginError(f"{module!r} has no attribute {attribute!r}", fix=nearest(attribute, known))


def _missing(name: str, wanted: str, distribution: str) -> PluginError:
    parent = name.rpartition(".")[0]
    asked = f"{wanted}.".startswith(f"{name}.")  # the target itself, or a package on its way
    library = name.partition(".")[0]
    check = f"{_requirement(library, distribution)}`pip check` lists what is missing"
    if parent or asked:
        siblings = [f"{parent}.{module}" if parent else module for module in _modules_in(parent)]
        return PluginError(f"there is no module {name!r}", fix=nearest(name, siblings) or check)
    return PluginError(f"it needs the library {library!r}, which is not installed", fix=check)


def _modules_in(package: str) -> list[str]:
    """Names of the modules in a package that is imported; of all top modules for ""."""
    places = None
    if package:
        places = getattr(sys.modules.get(package), "__path__", [])
    return [module.name for module in pkgutil.iter_modules(places)]


def _requirement(library: str, distribution: str) -> str:
    """What the metadata of the plugin say about a library of that name."""
    try:
        lines = importlib.metadata.requires(distribution) if distribution else None
    except importlib.metadata.PackageNotFoundError:
        lines = None
    for line in lines or []:
        name = re.match(r"[\w.-]+", line)
        if name and normal(name[0]) == normal(library):
            return f"{distribution} requires {line!r}; "
    return ""


def one_line(value: object, limit: int = 500) -> str:
    line = " ".join(text(value).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # a plugin's exception may fail to describe itself
        return type(value).__name__
