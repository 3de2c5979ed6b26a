"""`unnoise train DOMAIN`: the trainer's options and the domain's configuration as flags."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import Parameter
from pathlib import Path

from unnoise.api import load
from unnoise.cli.choose import chosen
from unnoise.cli.own import made
from unnoise.cli.parser import flag, flags, tidy
from unnoise.discovery.domains import trainable_named
from unnoise.training.train import TrainingConfiguration
from unnoise.training.train import train as run

_FLAGS = [
    flag("data", Path, "what to learn: a folder or file; a run that is resumed knows its own"),
    flag("out", Path, "folder of the run; it becomes the model's bundle", Parameter.empty),
    flag(
        "initial",
        str,
        "the model to start from: a domain (its shipped one), a folder or a hub id; its options"
        " hold where they are not given",
    ),
    *flags(TrainingConfiguration, "Training"),
]


def train(words: list[str]) -> int:
    """Run one command line."""
    found = chosen(
        "train",
        "Train a model of your own data. Ctrl-C saves a checkpoint; --resume continues: it"
        " needs no other option than --out, and takes more --steps.",
        words,
        _FLAGS,
        lambda domain: flags(
            domain.Configuration,
            domain.name,
            skip={*TrainingConfiguration.model_fields, "data", "initial", "out"},
            required=False,
        ),
        trainable_named,
    )
    if found is None:
        return 0
    domain, given = found
    data, out = given.pop("data", None), given.pop("out")
    if (initial := given.pop("initial", None)) is not None:
        given["initial"] = load(initial)
    first = os.environ.get("RANK", "0") == "0"  # of the processes that train together
    with heard(type(domain).__module__.partition(".")[0], first):
        run(domain, data, out, **tidy(domain.Configuration, given))
    if first:
        print(made(domain, out))
    return 0


@contextmanager
def heard(package: str, first: bool = True) -> Iterator[None]:
    """What a plugin's package logs of its data, at INFO, is shown on stderr, by one process."""
    logger = logging.getLogger(package)
    handler, level = logging.StreamHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if first else level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
