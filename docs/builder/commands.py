"""The command line, as its own help says it."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

from unnoise.cli import COMMANDS, main
from unnoise.discovery import registry

_MODELS = ("generate", "train", "distill", "evaluate", "unusual", "calibrate")
PLUGINS = ("list", "show", "doctor", "check", "enable", "disable")


def pages() -> dict[str, str]:
    """A page of all commands, and one with the flags of each domain."""
    names = sorted(registry.domains())
    parts = ["# The command line", _block([]), "Every flag has the same name in Python, with `_`."]
    for name, command in COMMANDS.items():
        parts += [f"## unnoise {name}", f"{command.summary.capitalize()}."]
        if name == "plugins":
            parts.append(_block([name]))
            parts += [_block([name, sub]) for sub in PLUGINS]
        elif command.parses:
            links = ", ".join(f"[{d}]({d}.md)" for d in names if _known(name, d))
            parts.append(f"Its flags are those of a domain: {links}.")
        else:
            parts.append(_block([name]))
    tree = ["```{toctree}", ":hidden:", "", *names, "```"]
    parts.append("\n".join(tree))
    found = {"commands/index": "\n\n".join(parts) + "\n"}
    for domain in names:
        sections = [f"# unnoise COMMAND {domain}"]
        for command in _MODELS:
            if _known(command, domain):
                sections += [f"## unnoise {command} {domain}", _block([command, domain])]
        found[f"commands/{domain}"] = "\n\n".join(sections) + "\n"
    return found


def _known(command: str, domain: str) -> bool:
    return bool(said([command, domain]))


_SAID: dict[tuple[str, ...], str] = {}


def said(words: Sequence[str]) -> str:
    """What `unnoise WORDS --help` prints at a width of 88; nothing where it is an error."""
    if tuple(words) not in _SAID:
        os.environ["COLUMNS"] = "88"
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
            code = main([*words, "--help"])
        _SAID[tuple(words)] = out.getvalue().strip("\n") if code == 0 else ""
    return _SAID[tuple(words)]


def _block(words: Sequence[str]) -> str:
    return f"```text\n{said(words)}\n```"
