"""Sources of light modules that are broken, each in its way, and what is said of it."""

from __future__ import annotations

HEAD = "from unnoise.specs import DomainSpec, SamplerSpec, hookimpl\n"


def hook(answer: str, name: str = "unnoise_domains", arguments: str = "") -> str:
    return f"{HEAD}\n@hookimpl\ndef {name}({arguments}):\n    {answer}\n"


def domain(name: str, target: str = "nowhere:Nothing") -> str:
    return hook(f"return [DomainSpec({name!r}, 'of the tests', {target!r})]")


BROKEN = {
    "raises at import": ("raise RuntimeError('boom\\nand more')", "RuntimeError: boom and more"),
    "exits at import": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "is no Python": ("def (", "SyntaxError"),
    "raises in a hook": (hook("raise ValueError('bad day')"), "ValueError: bad day"),
    "raises what cannot be shown": (
        "class E(Exception):\n    def __str__(self): raise TypeError\nraise E",
        "E: E",
    ),
    "unknown argument": (hook("return []", arguments="weather"), "Argument(s) {'weather'}"),
    "unknown hook": (hook("return []", name="unnoise_domain"), "unknown hook 'unnoise_domain'"),
    "returns a number": (hook("return 42"), "unnoise_domains returned 42"),
    "returns words": (hook("return ['weather']"), "unnoise_domains returned ['weather']"),
    "returns another kind": (hook("return [SamplerSpec('a', '', 'b:c')]"), "list of DomainSpec"),
    "returns nothing": (hook("pass"), "it provides nothing"),
    "forgets hookimpl": ("def unnoise_domains():\n    return []", "it provides nothing"),
    "bad name": (domain("no name"), "not a usable name; got 'no name'"),
    "bad target": (domain("weather", "nowhere"), "no usable target; got 'nowhere'"),
    "one name twice": (
        hook("return [DomainSpec('x', '', 'a:b'), DomainSpec('X', '', 'a:c')]"),
        "returned the name 'X' twice",
    ),
    "from the future": (
        hook("return [DomainSpec('weather', '', 'a:b', api_version=3)]"),
        "version 3 of the plugin interface",
    ),
    "from the past": (
        hook("return [DomainSpec('weather', '', 'a:b', api_version=1)]"),
        "version 1 of the plugin interface",
    ),
    "version is a word": (
        hook("return [DomainSpec('weather', '', 'a:b', api_version='new')]"),
        "version 'new' of the plugin interface",
    ),
    "needs a library": ("import not_to_be_had", "library 'not_to_be_had', which is not installed"),
}
