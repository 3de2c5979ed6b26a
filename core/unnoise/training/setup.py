"""What happens before the first step: options, processes, the folder, data, agreement."""

from __future__ import annotations

import atexit
import gc
import os
import random
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed.nn.functional  # see `_leave`
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from pydantic import BaseModel, ValidationError
from torch import nn
from torch.utils.data import Dataset

from unnoise.discovery.domains import configuration_of, dataset_of
from unnoise.domain import Trainable
from unnoise.errors import ConfigError, InputError
from unnoise.fields import check_read, configured, refused, unknown
from unnoise.storage.bundle import CONFIG
from unnoise.training import checkpoint as checkpoints
from unnoise.training.checkpoint import Checkpoint
from unnoise.training.data import fingerprint
from unnoise.training.options import TrainingConfiguration
from unnoise.training.record import LOG


@dataclass(frozen=True)
class Data:
    """The data of a run: the domain's completed configuration and the two parts."""

    configuration: BaseModel
    train: Dataset[Any]
    length: int
    held_out: Dataset[Any]
    held_out_length: int
    fingerprint: str


OBJECTS = ("objective", "initial", "defaults")
"""Options of `train` that are neither the trainer's configuration nor the domain's."""


def split_options(
    domain: Trainable, options: Mapping[str, Any]
) -> tuple[TrainingConfiguration, dict[str, Any]]:
    """(the trainer's options, those of the domain); ConfigError for what neither knows."""
    mine, own = TrainingConfiguration.model_fields, domain.Configuration.model_fields
    names = (*mine, *own, *OBJECTS)
    for name in options:
        if name not in names:
            raise unknown(name, names)
    training = configured(TrainingConfiguration, {k: v for k, v in options.items() if k in mine})
    return training, {k: v for k, v in options.items() if k not in mine}


def start_processes(options: TrainingConfiguration) -> Accelerator:
    """The accelerator for `options`; ConfigError where the machine cannot do what they ask.

    The group of launched processes is joined once and left when the process ends, so that several
    runs can follow each other; a group that the caller made stays the caller's.
    """
    ours = not torch.distributed.is_initialized()
    # accelerate keeps one state per process and refuses to change its precision: runs in the same
    # Python process would otherwise depend on the first one.
    AcceleratorState._reset_state(ours)
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    # without an accelerator each launched process would otherwise believe to be the only one
    cpu = options.device == "cpu" or (launched > 1 and not torch.cuda.is_available())
    try:
        accelerator = Accelerator(
            mixed_precision=options.precision,
            cpu=cpu,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
    except ValueError as error:
        raise ConfigError(
            f"precision cannot be used here: {error}",
            value=options.precision,
            fix="pass precision='no'",
        ) from error
    finally:
        if ours and torch.distributed.is_initialized():
            atexit.register(_leave)
    if options.precision == "fp16" and accelerator.scaler is None:
        # on the CPU accelerate would leave it out without a word
        raise ConfigError(
            "precision fp16 needs an accelerator",
            value=accelerator.device.type,
            fix="pass precision='bf16' or 'no'",
        )
    if launched != accelerator.num_processes:
        raise ConfigError(
            "the launched processes do not find each other: they would all write the same run",
            value=f"{launched} launched",
            limit=f"{accelerator.num_processes} in accelerate's group",
        )
    least = accelerator.num_processes * options.accumulate
    if options.batch_size < least:
        raise ConfigError(
            "batch_size is smaller than the number of processes"
            + (", times the parts of accumulate" if options.accumulate > 1 else ""),
            value=options.batch_size,
            limit=f"at least {least}",
        )
    return accelerator


def _leave() -> None:
    """Leave the group of processes, which ends its threads.

    A thread that still lets go of a tensor while the interpreter ends would abort the process. The
    threads end with the last reference to the group. `torch.distributed.nn.functional` keeps the
    group that exists at its import as a default argument, and DistributedDataParallel imports it:
    it is imported above, before there is a group.
    """
    gc.collect()
    if torch.distributed.is_initialized():  # the caller may have left it already
        torch.distributed.destroy_process_group()


def checkpoint_in(folder: Path, options: TrainingConfiguration) -> Checkpoint | None:
    """The checkpoint to continue from, or None to start. Nothing is written.

    Raises
    ------
    InputError : `folder` contains a run or a bundle that would be overwritten.
    BundleError : the checkpoint is damaged.
    """
    found = [name for name in (CONFIG, LOG, "checkpoints") if (folder / name).exists()]
    good = checkpoints.latest(folder) if options.resume else None
    if found and not options.resume:
        raise InputError(
            f"{str(folder)!r} already contains a run ({', '.join(found)})",
            fix="choose another folder, or continue that run with resume=True",
        )
    if CONFIG in found and good is None:
        raise InputError(
            f"{str(folder)!r} contains a bundle but no checkpoint to continue from",
            fix="choose another folder",
        )
    return good


def open_data(
    domain: Trainable, source: Any, own: dict[str, Any], given: Mapping[str, Any]
) -> Data:
    """Complete the configuration from the data and open both parts.

    Parameters
    ----------
    own : the options of the domain.
    given : those of a run that somebody gave it.

    Raises
    ------
    ConfigError : an option of the domain that cannot be used, or was given and is not read.
    InputError : there is nothing to train on.
    """
    try:
        configuration = configuration_of(domain, source, own)
    except ValidationError as error:
        raise refused(error, domain.Configuration) from error
    if not domain.Configuration.model_fields.keys() <= given.keys():
        check_read(configuration, given)  # a whole configuration that is passed on asks for nothing
    train = dataset_of(domain, source, configuration, "train")
    held_out = dataset_of(domain, source, configuration, "validation")
    length = _length(train)
    if length == 0:
        raise InputError("there is nothing to train on: the data are empty", value=str(source))
    return Data(
        configuration,
        train,
        length,
        held_out,
        _length(held_out),
        fingerprint(domain, train, length),
    )


def describe(objective: object) -> str:
    """An objective by the name of its class and, where it has them, its fields; what it learns, by
    its kind."""
    if not is_dataclass(objective):
        return type(objective).__qualname__
    found = []
    for field in fields(objective):
        if field.repr:
            value = getattr(objective, field.name)
            learns = isinstance(value, (nn.Module, nn.Parameter))
            text = describe(value) if learns or is_dataclass(value) else repr(value)
            found.append(f"{field.name}={text}")
    return f"{type(objective).__qualname__}({', '.join(found)})"


def agree(good: Checkpoint, identity: Mapping[str, Any], options: TrainingConfiguration) -> None:
    """Check that a run continues itself.

    Raises
    ------
    ConfigError : data, configuration or an option that decides the weights differ.
    """
    differ = []
    for part in (
        "domain",
        "objective",
        "turns",
        "initial",
        "data",
        "configuration",
        "training",
    ):
        before, now = good.state.get(part), identity[part]
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            names = sorted({*before, *now})
            pairs = [(f"{part}.{name}", before.get(name), now.get(name)) for name in names]
        else:
            pairs = [(part, before, now)]
        differ += [pair for pair in pairs if pair[1] != pair[2]]
    # A run may become longer; without a decay, the steps so far do not depend on those to come.
    before = good.state["training"]["steps"]
    if options.steps > before or (options.decay == "none" and options.steps >= good.step):
        differ = [pair for pair in differ if pair[0] != "training.steps"]
    if differ:
        text = ", ".join(f"{name} was {before!r} and is {now!r}" for name, before, now in differ)
        raise ConfigError(
            f"this is not the run that stopped at step {good.step}: {text}",
            fix="repeat the data and options of that run, or start anew in another folder",
        )


@contextmanager
def generators_kept() -> Iterator[None]:
    """Training seeds the global generators at each step; the caller gets them back as they were."""
    python, numbers = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)


def _length(dataset: Dataset[Any]) -> int:
    try:
        return len(cast(Sized, dataset))
    except TypeError as error:
        raise ConfigError(
            "the dataset of a domain must have a length and be indexed by number",
            value=type(dataset).__name__,
        ) from error
