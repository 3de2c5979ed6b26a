"""What a run need not be told again: what it was told before, and what the model says that it
starts from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unnoise.domain import Trainable
from unnoise.errors import ConfigError, InputError
from unnoise.model import Model
from unnoise.training import checkpoint as checkpoints
from unnoise.training.checkpoint import Checkpoint
from unnoise.training.options import TrainingConfiguration


def source_of(data: Any) -> str:
    """What a checkpoint remembers of the data: where they lie, if they are a folder or file."""
    return str(Path(data).absolute()) if isinstance(data, (str, Path)) else ""


def planned(good: Checkpoint | None, options: TrainingConfiguration) -> list[list[int]]:
    """Pairs of a step and the number of steps that were planned from there on."""
    before = [] if good is None else [list(pair) for pair in good.state.get("plans", [])]
    if before and before[-1][1] == options.steps:
        return before
    return [*before, [0 if good is None else good.step, options.steps]]


def continued(
    domain: Trainable, folder: Path, data: Any, options: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The data and options of a run: those that are given and, of the run in `folder` that is
    resumed or the model that a new one starts from, all others.

    Raises
    ------
    InputError : there are no data.
    ConfigError : what to start from is no model of this domain.
    BundleError : the checkpoint is damaged.
    """
    good = checkpoints.latest(folder) if options.get("resume") else None
    if good is not None and good.state.get("domain", domain.name) != domain.name:
        raise InputError(
            f"the run in {str(folder)!r} is of another domain",
            value=domain.name,
            limit=good.state["domain"],
        )
    if good is None and options.get("resume") and data is None:
        raise InputError(
            "there is no run to go on with", value=str(folder), fix="begin one: pass data="
        )
    if good is not None and good.state.get("domain") == domain.name:
        state = good.state
        told = {**state["options"], **state["configuration"], "defaults": state["defaults"]}
        data = data if data is not None else state["source"] or None
        options = {**told, **options}
    elif (initial := options.get("initial")) is not None:
        if not isinstance(initial, Model):
            raise ConfigError(
                "initial is a loaded model", value=initial, fix="pass initial=unnoise.load(...)"
            )
        if initial.domain.name != domain.name:
            raise ConfigError(
                "the model to start from belongs to another domain",
                value=initial.domain.name,
                limit=domain.name,
            )
        options = {**domain.carried(initial.configuration), **options}
    if data is None:
        raise InputError("there is nothing to train on", fix="pass data=")
    check_apart(data, folder)
    return data, dict(options)


def check_apart(data: Any, folder: Path) -> None:
    """Refuse a run that would be its data, and warn of one inside them: what it writes, pictures or
    texts of its own making among it, would be data to the next one, and to itself when resumed."""
    try:
        if not isinstance(data, (str, Path)) or not Path(data).is_dir():
            return
        inside, own = Path(data).resolve(), folder.resolve()
    except OSError:  # no name of a file: whoever reads it says so
        return
    if own == inside:
        raise InputError(
            "a run does not write into its data", value=str(folder), fix="choose a folder beside"
        )
    if inside in own.parents:
        warnings.warn(
            f"the run {str(folder)!r} lies inside its data: what it writes would be data when it is"
            " resumed; choose a folder beside",
            stacklevel=4,
        )
