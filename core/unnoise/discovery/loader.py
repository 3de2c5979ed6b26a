"""Finds installed plugins and examines each one alone, so that none can break the others.

A plugin's light module is imported and its hooks are called in a thread of their own, with standard
output captured and a limit of `SECONDS_TO_LOAD`. Whatever goes wrong there (an exception,
`sys.exit`, a hang, an answer that makes no sense) puts this one plugin in quarantine, with a reason
and one warning line on stderr. One that hung is remembered (`unnoise.discovery.hangs`), and costs
the next start nothing. UNNOISE_STRICT=1 tries everything and raises the original exception instead.

What cannot be guarded against: native code that ends the process or never gives the interpreter
back, and what is written past `sys.stdout` to the file itself.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import reprlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import distributions, version
from typing import Final, final

from pluggy import PluginManager

from unnoise import hookspecs
from unnoise.discovery import hangs
from unnoise.discovery.advice import diagnose, one_line, to_update
from unnoise.errors import PluginError
from unnoise.specs import API_VERSION, KINDS, Health, Kind, PluginInfo, Spec, normal

SECONDS_TO_LOAD: Final = 5.0
"""How long one plugin's light module may take; it needs milliseconds."""

Provided = tuple[tuple[Kind, Spec], ...]


@final
@dataclass(frozen=True)
class Plugin:
    """A plugin as found: `load` imports its light module, `specs` is what its hooks returned."""

    info: PluginInfo
    load: Callable[[], object]
    specs: Provided = ()
    module: str = ""

    def __str__(self) -> str:
        return f"{self.info.distribution} {self.info.version}"

    @property
    def names(self) -> frozenset[str]:
        """What the user may call it: its own name or its distribution's."""
        return frozenset({normal(self.info.name), normal(self.info.distribution)})

    @property
    def is_core(self) -> bool:
        return self.info.distribution == "unnoise"

    @property
    def key(self) -> str:
        """What `unnoise.discovery.hangs` knows it by."""
        return f"{normal(self.info.distribution)}:{self.info.name}"

    def fingerprint(self) -> str:
        return hangs.fingerprint(self.module, self.info.version)

    def mark(self, state: Health, reason: str, fix: str = "") -> Plugin:
        return replace(self, info=replace(self.info, state=state, reason=reason, fix=fix))

    def complain(self, state: Health, error: PluginError) -> Plugin:
        """The plugin marked with what is wrong, and one warning line (strict: raised)."""
        if strict():
            raise error
        reason = str(PluginError(error.message, value=error.value, limit=error.limit))
        warn(f"plugin {self.info.name!r} ({self}) is {state}: {reason}; {error.fix}")
        return self.mark(state, one_line(reason), error.fix)


def installed() -> Iterator[Plugin]:
    """The core, then every entry point of the group; of a distribution seen twice, the first."""
    core = PluginInfo("core", "unnoise", version("unnoise"), {}, "ok")
    yield Plugin(core, lambda: importlib.import_module("unnoise.discovery.builtin"))
    seen = {"unnoise"}
    for distribution in distributions():
        try:
            # The text first: parsing the metadata of every distribution would take long.
            if "[unnoise]" not in (distribution.read_text("entry_points.txt") or ""):
                continue
            name, release = distribution.metadata["Name"], distribution.version
            points = [point for point in distribution.entry_points if point.group == "unnoise"]
            key = normal(name)
        except Exception as error:
            warn(f"a distribution with damaged metadata was left out: {one_line(error)}")
            continue
        if key not in seen:
            seen.add(key)
            for point in points:
                info = PluginInfo(point.name, name, release, {}, "ok")
                yield Plugin(info, point.load, module=point.module)


def examine(plugin: Plugin) -> Plugin:
    """The plugin with what it provides, or in quarantine."""
    specs, error, printed = _tried(plugin)
    if error is not None:
        if strict():
            raise error
        problem = diagnose(error, plugin.module, plugin.info.distribution)
        advice = problem.fix or "report it to its authors"
        problem.fix = f"{advice}, or: unnoise plugins disable {plugin.info.name}"
        return plugin.complain("broken", problem)
    provides = {k: names for k in KINDS if (names := tuple(s.name for q, s in specs if q == k))}
    info = replace(plugin.info, provides=provides)
    if printed.strip():
        note = f"printed while loading: {one_line(printed)}"
        info = replace(info, reason=note, fix="it works; ask its authors not to print at import")
    return replace(plugin, specs=specs, info=info)


def strict() -> bool:
    """Whether the user wants exceptions of plugins raised."""
    return os.environ.get("UNNOISE_STRICT", "") not in ("", "0")


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"unnoise: {one_line(text)}", file=sys.stderr)  # noqa: T201  # one line, no call site


def _ask(plugin: Plugin) -> Provided:
    """Import the light module, check its hooks and call them. Raises whatever is wrong."""
    manager = PluginManager("unnoise")  # one for each plugin: none can disturb another's hooks
    manager.add_hookspecs(hookspecs)
    manager.register(plugin.load(), plugin.info.name)
    manager.check_pending()
    specs: dict[tuple[Kind, str], Spec] = {}
    for kind, wanted in KINDS.items():
        hook = f"unnoise_{kind}"
        for answer in getattr(manager.hook, hook)():
            for spec in answer if isinstance(answer, (list, tuple)) else [answer]:
                if type(spec) is not wanted:
                    raise PluginError(
                        f"{hook} returned {reprlib.repr(answer)}",
                        limit=f"a list of {wanted.__name__}",
                    )
                _check_version(spec, plugin)
                if (kind, normal(spec.name)) in specs:
                    raise PluginError(f"{hook} returned the name {spec.name!r} twice")
                specs[kind, normal(spec.name)] = spec
    if not specs:
        raise PluginError(
            "it provides nothing", fix="mark its hooks with @hookimpl and return lists of specs"
        )
    return tuple((kind, spec) for (kind, _), spec in specs.items())


def _check_version(spec: Spec, plugin: Plugin) -> None:
    if spec.api_version is None:
        return
    if spec.api_version == API_VERSION and isinstance(spec.api_version, int):
        return
    newer = isinstance(spec.api_version, int) and spec.api_version > API_VERSION
    raise PluginError(
        f"{spec.name!r} speaks version {reprlib.repr(spec.api_version)} of the plugin interface",
        limit=f"version {API_VERSION}, that of unnoise {version('unnoise')}",
        fix=to_update("unnoise" if newer else plugin.info.distribution),
    )


def _tried(plugin: Plugin) -> tuple[Provided, BaseException | None, str]:
    """As `_guarded`, without trying a plugin that hung and has not changed since."""
    again = "`unnoise plugins doctor` tries it again; report it to its authors"
    if not strict() and hangs.remembered(plugin.key, plugin.fingerprint):
        message = f"it was still loading after {SECONDS_TO_LOAD:g} s when it was last tried"
        return (), PluginError(message, fix=again), ""
    specs, error, printed = _guarded(lambda: _ask(plugin))
    if isinstance(error, _Hang):
        hangs.remember(plugin.key, plugin.fingerprint())
        error.fix = again
    return specs, error, printed


class _Hang(PluginError):
    """The limit was reached."""


def _guarded(work: Callable[[], Provided]) -> tuple[Provided, BaseException | None, str]:
    """Run `work` in a thread: its result, or what it raised, and what it printed.

    A thread, because a hang cannot be interrupted on every platform; one that hangs is left behind
    and ends with the process.
    """
    done: list[Provided] = []
    failed: list[BaseException] = [_Hang(f"it was still loading after {SECONDS_TO_LOAD:g} s")]

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # SystemExit too: a plugin does not end the application
            failed.append(error)

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        thread = threading.Thread(target=run, name="unnoise-plugin", daemon=True)
        thread.start()
        thread.join(SECONDS_TO_LOAD)
    result = tuple(done)
    return (result[0], None, printed.getvalue()) if result else ((), failed[-1], printed.getvalue())
