"""`unnoise distill DOMAIN`: a model that needs fewer steps."""

from __future__ import annotations

import os
from inspect import Parameter
from pathlib import Path

from unnoise.api import load
from unnoise.cli.choose import chosen
from unnoise.cli.own import made
from unnoise.cli.parser import flag, flags
from unnoise.discovery.domains import trainable_named
from unnoise.training.distill import distill as run
from unnoise.training.train import TrainingConfiguration

_FLAGS = [
    flag("data", Path, "what the model was trained on: a folder or file", Parameter.empty),
    flag("out", Path, "folder of the halvings; it becomes the student's bundle", Parameter.empty),
    flag("to_steps", int, "steps of the student", Parameter.empty),
    flag("from_steps", int, "steps of the teacher: to_steps times a power of two"),
    flag("model", str, "the teacher; default: the domain's shipped model"),
    flag(
        "growth",
        float,
        "each halving takes this many times the optimiser steps of the one before (1 to 10)",
        1.0,
    ),
    *flags(TrainingConfiguration, "Training of each halving"),
]


def distill(words: list[str]) -> int:
    """Run one command line."""
    about = (
        "Distill a model into one of fewer steps. Ctrl-C saves a checkpoint; --resume continues."
    )
    found = chosen("distill", about, words, _FLAGS, lambda _: [], trainable_named)
    if found is None:
        return 0
    domain, given = found
    data, out = given.pop("data"), given.pop("out")
    teacher = load(given.pop("model", None) or domain.name)
    student = run(domain, data, out, model=teacher, report=_say, **given)
    done = made(domain, out)
    _say(done if student.card["training"]["finished"] else "time is up; continue with --resume")
    return 0


def _say(line: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # once, when several processes train together
        print(line, flush=True)
