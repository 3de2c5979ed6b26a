"""unnoise: a minimal diffusion core plus domain plugins.

    import unnoise

    out = unnoise.generate("images", num_samples=16, label=3)
    out.save("digits")

Importing this module is cheap: each public name is imported when it is first used, so that nothing
loads torch before something needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unnoise.compat import torch_untouched

__version__ = "0.1.0"

if TYPE_CHECKING:
    from unnoise import errors as errors
    from unnoise.api import Output as Output
    from unnoise.api import generate as generate
    from unnoise.api import generate_iter as generate_iter
    from unnoise.api import load as load
    from unnoise.api import reload as reload
    from unnoise.discovery.registry import domains as domains
    from unnoise.discovery.registry import plugins as plugins
    from unnoise.domain import Domain as Domain
    from unnoise.model import Model as Model
    from unnoise.specs import DomainInfo as DomainInfo
    from unnoise.specs import DomainSpec as DomainSpec
    from unnoise.specs import PluginInfo as PluginInfo
    from unnoise.specs import hookimpl as hookimpl
    from unnoise.training.train import train as train

_HOME = {
    "Domain": "domain",
    "DomainInfo": "specs",
    "DomainSpec": "specs",
    "Model": "model",
    "Output": "api",
    "PluginInfo": "specs",
    "domains": "discovery.registry",
    "errors": "errors",
    "generate": "api",
    "generate_iter": "api",
    "hookimpl": "specs",
    "load": "api",
    "plugins": "discovery.registry",
    "reload": "api",
    "train": "training.train",
}
"""Where each public name lives. No module may have the name of a function listed here: importing
the module would put it in the function's place."""

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'unnoise' has no attribute {name!r}")
    with torch_untouched():
        module = importlib.import_module(f"unnoise.{home}")
    value = module if home == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
