"""`unnoise plugins ...`: what is installed, whether it works, and switching it on and off."""

from __future__ import annotations

from dataclasses import asdict

from unnoise.cli.text import as_json, table
from unnoise.discovery import registry
from unnoise.errors import PluginError
from unnoise.specs import PluginInfo


def list_(*, json: bool = False) -> str:
    """Every plugin found, healthy or not.

    Parameters
    ----------
    json
        Print JSON.
    """
    found = registry.plugins()
    if json:
        return as_json([asdict(info) for info in found])
    rows = [
        (info.name, f"{info.distribution} {info.version}", info.state, _about(info))
        for info in found
    ]
    return table(("PLUGIN", "FROM", "STATE", ""), rows, "none")


def show(name: str, /, *, json: bool = False) -> str:
    """Everything about one plugin.

    Parameters
    ----------
    name
        The plugin's name or its distribution's.
    json
        Print JSON.
    """
    chosen = registry.named(name)
    if json:
        return as_json([asdict(info) for info in chosen])
    return "\n\n".join(map(_page, chosen))


def doctor() -> int:
    """Import everything that every plugin provides; say what is wrong and how to mend it."""
    wrong = 0
    registry.retry()
    for info in registry.plugins():
        troubles = _troubles(info)
        wrong += bool(troubles) and info.state not in ("disabled", "ignored")
        print(f"{info.name} ({info.distribution} {info.version}): {info.state}")
        for reason, fix in troubles:
            print(f"  wrong: {reason}\n  mend:  {fix}" if fix else f"  note:  {reason}")
    print(
        f"\n{wrong} of {len(registry.plugins())} plugins need attention" if wrong else "\nall well"
    )
    return 1 if wrong else 0


def check(name: str, /, *, data: str | None = None, json: bool = False) -> int:
    """Run the conformance kit on a plugin and on all that it provides.

    Parameters
    ----------
    name
        The plugin's name or its distribution's.
    data
        Something that its domains can be trained on, to check that too.
    json
        Print JSON.
    """
    from unnoise.testing import check_plugin

    report = check_plugin(name, data=data, on_fail="report")
    if json:
        print(as_json([asdict(result) for result in report.results]))
    else:
        for subject in dict.fromkeys(r.subject for r in report.results):
            rows = [(r.status, r.check, r.detail) for r in report.results if r.subject == subject]
            print(f"{subject}\n{table(('RESULT', 'CHECK', ''), rows, '')}\n")
        print(f"{name}: {report.counts}")
    return 0 if report.ok else 1


def enable(name: str, /) -> str:
    """Load a plugin again that was switched off.

    Parameters
    ----------
    name
        The plugin's name or its distribution's.
    """
    return "\n".join(f"{info.name}: {info.state}" for info in registry.enable(name))


def disable(name: str, /) -> str:
    """Do not load a plugin, until it is switched on again.

    Parameters
    ----------
    name
        The plugin's name or its distribution's.
    """
    return "\n".join(f"{info.name}: {info.state}" for info in registry.disable(name))


COMMANDS = {
    "list": list_,
    "show": show,
    "doctor": doctor,
    "check": check,
    "enable": enable,
    "disable": disable,
}


def _about(info: PluginInfo) -> str:
    provided = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in info.provides.items())
    return "; ".join(filter(None, [info.reason, provided if info.state == "ok" else info.fix]))


def _page(info: PluginInfo) -> str:
    lines = [
        f"plugin        {info.name}",
        f"distribution  {info.distribution} {info.version}",
        f"state         {info.state}",
    ]
    lines += [f"{kind:<14}{', '.join(names)}" for kind, names in info.provides.items()]
    lines += [f"reason        {info.reason}"] * bool(info.reason)
    lines += [f"to mend it    {info.fix}"] * bool(info.fix)
    return "\n".join(lines)


def _troubles(info: PluginInfo) -> list[tuple[str, str]]:
    """(what is wrong, what mends it) for all that can be found out by importing everything."""
    found = [(info.reason, info.fix)] if info.reason else []
    for kind, names in info.provides.items():
        for name in names:
            try:
                registry.resolve(registry.find(kind, name))
            except PluginError as error:
                found.append((error.message, error.fix or "report it to its authors"))
    return found
