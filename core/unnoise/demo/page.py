"""The page itself: sections in, one self-contained HTML document out."""

from __future__ import annotations

import base64
import hashlib
import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata, resources
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from unnoise.demo.section import Failed, Section, Shown
from unnoise.demo.wordmark import wordmark
from unnoise.specs import PluginInfo

GENERATOR: Final = 'name="generator" content="unnoise demo"'
"""What every demo page says of itself, by which it is recognised."""


def page(sections: Sequence[Section], plugins: Sequence[PluginInfo], seconds: float) -> str:
    """The document. Everything is escaped but the fragments that domains return."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = _part("page.js")
    return environment.from_string(_part("page.html")).render(
        generator=Markup(GENERATOR),
        policy=_policy(script),
        style=Markup(_part("page.css")),
        script=Markup(script),
        wordmark=Markup(wordmark()),
        fragment=Markup,
        sections=[(s, _state(s)) for s in sections],
        plugins=[info for info in plugins if info.state in ("broken", "conflict")],
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        versions={
            "unnoise": metadata.version("unnoise"),
            "torch": metadata.version("torch"),
            "python": platform.python_version(),
        },
        seconds=seconds,
    )


def _policy(script: str) -> str:
    """No network and no script but our own, whatever a fragment contains."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _part(name: str) -> str:
    return resources.files("unnoise.demo").joinpath(name).read_text(encoding="utf-8")


def _state(section: Section) -> str:
    if isinstance(section.result, Shown):
        return "shown"
    return "failed" if isinstance(section.result, Failed) else "empty"
