"""The command line. `main` decides what to import: listings and --help answer without a parser.

Exit codes: 0 done; 1 `plugins doctor` found something, or a bug (with its traceback); 2 a wrong
command line or an error of ours, in one line on stderr; 130 interrupted (143 by SIGTERM).
``--debug`` shows the traceback of an error of ours.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from unnoise.errors import Cancelled, InputError, UnnoiseError, nearest


class Command(NamedTuple):
    """A command: its function (or functions, by the name of the subcommand) and its help line.

    A function whose flags depend on the domain parses its words itself.
    """

    target: str
    summary: str
    parses: bool = False


COMMANDS: Final = {
    "demo": Command("demo:demo", "a page of samples from every installed domain"),
    "generate": Command("generate:generate", "samples of a domain, into a folder", parses=True),
    "train": Command("train:train", "a model of your own data", parses=True),
    "distill": Command("distill:distill", "a model that needs fewer steps", parses=True),
    "variance": Command(
        "variance:variance", "a model with its optimal reverse variance", parses=True
    ),
    "evaluate": Command("evaluate:evaluate", "how good a model is on held-out data", parses=True),
    "unusual": Command("unusual:unusual", "how unusual things are to a model", parses=True),
    "calibrate": Command(
        "calibrate:calibrate", "whether a model's uncertainty is true", parses=True
    ),
    "serve": Command("serve:serve", "every domain over HTTP, and a page to play on"),
    "domains": Command("listings:domains", "what can be generated"),
    "samplers": Command("listings:samplers", "the ways from noise to data"),
    "new": Command("new:new", "a plugin of your own, to begin with"),
    "bundle": Command("bundle:bundle", "a trained model, into the plugin that ships it"),
    "plugins": Command("plugins:COMMANDS", "what is installed: list, show, doctor, ..."),
}

_QUICK: Final = {
    ("domains",): "listings:domains",
    ("samplers",): "listings:samplers",
    ("plugins", "list"): "plugins:list_",
}
"""Command lines, each with or without --json, that are answered without importing the parser,
which would take longer than they do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with _warned(words):
            return _run(words)
    except UnnoiseError as error:
        if debug:
            raise
        return _complain(spoken(str(error), _names(words)), _code(error))
    except KeyboardInterrupt:
        if debug:
            raise
        return _complain("interrupted", code=130)
    except BrokenPipeError:  # `unnoise domains | head -1`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


@contextmanager
def _warned(words: Sequence[str]) -> Iterator[None]:
    """A warning is one line, as an error is, without the line of Python that gave it."""
    usual = warnings.formatwarning

    def line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
        if category is not UserWarning:
            return usual(message, category, *where, **more)
        return f"warning: {' '.join(spoken(str(message), _names(words)).split())}\n"

    warnings.formatwarning = line
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _run(words: list[str]) -> int:
    if words in ([], ["-h"], ["--help"], ["help"]):
        return _say(_help())
    if words == ["--version"]:
        from importlib.metadata import version

        return _say(version("unnoise"))
    if words[0] not in COMMANDS:
        raise InputError("no such command", value=words[0], fix=nearest(words[0], COMMANDS))
    as_json = words[-1] == "--json"
    if quick := _QUICK.get(tuple(words[: len(words) - as_json])):
        return _say(_load(quick)(json=as_json))
    command = COMMANDS[words[0]]
    if command.parses:
        return int(_load(command.target)(words[1:]))

    from unnoise.cli.parser import run

    answer = run(words[0], _load(command.target), words[1:])
    return _say(answer) if isinstance(answer, str) else answer


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(f"unnoise.cli.{module}"), name)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: unnoise COMMAND [--help] [--debug]\n",
            "Diffusion models for any kind of data, offline and from one core.\n",
            *lines,
            "\nStart with `unnoise demo`. `unnoise generate DOMAIN --help` shows a domain's flags.",
        ]
    )


def _say(text: str) -> int:
    print(text)
    sys.stdout.flush()
    return 0


def _code(error: UnnoiseError) -> int:
    """2, or for work that a signal stopped what a shell says of it: 130 for Ctrl-C."""
    name = error.value if isinstance(error, Cancelled) else None
    return 128 + signal.Signals[name] if name in ("SIGINT", "SIGTERM") else 2


_ARGUMENT: Final = re.compile(
    r"\([^()]*\)|(?<![\w.])(?P<name>[a-z][a-z_]*)=(?P<value>'[^']*'|[(\[][^()\[\]]*[)\]]|\.\.\.|[\w./]*)|(?<!\w)'[^']*'"
    r"|(?<![\w./-])(?P<word>[a-z]+(?:_[a-z]+)+)(?![\w./])"
)
_FIELD: Final = re.compile(r"\b(?:request field|unknown option|option) '([a-z][\w.]*)'")


def _names(words: Sequence[str]) -> frozenset[str]:
    """Of the flags of a command line that was read as far as its domain."""
    options = sys.modules.get("unnoise.engine.options")
    training = sys.modules.get("unnoise.training.options")
    kinds: list[Any] = [options.Options] if options else []
    kinds += [training.TrainingConfiguration] if training else []
    if options and len(words) > 1 and words[0] in COMMANDS and COMMANDS[words[0]].parses:
        from unnoise.discovery.domains import domain_named
        from unnoise.domain import Trainable

        try:
            domain = domain_named(words[1])
        except UnnoiseError:
            return frozenset()
        kinds.append(domain.Request)
        kinds += [domain.Configuration] if isinstance(domain, Trainable) else []
    return frozenset(name for kind in kinds for name in kind.model_fields)


def spoken(message: str, names: Collection[str] = ()) -> str:
    """A message in the language of the command line: an argument name=value of Python is the flag
    --name value, and a word that is one of `names` its flag. What stands in brackets (those of a
    sampler) or in quotes stays."""

    def flag(found: re.Match[str]) -> str:
        name, value, word = found["name"], found["value"], found["word"]
        if word is not None:
            return "--" + word.replace("_", "-") if word in names else word
        if name is None:
            return found[0]
        words = name.replace("_", "-")
        if value == "False":
            return f"--no-{words}"
        value = value[1:-1].replace(",", "") if value[:1] in ("(", "[") else value.strip("'")
        shown = "" if value in ("True", "", "...") else f" {value}"
        return f"--{words}{shown}"

    named = _FIELD.sub(lambda found: "--" + found[1].replace("_", "-"), message)
    return _ARGUMENT.sub(flag, named)


def _complain(message: str, code: int = 2) -> int:
    print(f"unnoise: {' '.join(message.split())}", file=sys.stderr)
    return code
