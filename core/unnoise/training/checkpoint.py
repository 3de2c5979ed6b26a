"""Checkpoints: everything that a run needs to go on as if it had never stopped.

    checkpoints/step-00001000/state.json              step, configuration, data, hashes
                              weights.safetensors     the raw weights and buffers, by part: of the
                                                      denoiser, the codec and others
                              average.safetensors     the averaged ones
                              optimizer.safetensors   each turn's moments and step counts
    checkpoints/latest                                the name of the newest complete folder

A folder is written under a temporary name, synced and renamed before `latest` names it; old ones
go only after that. Whenever the process dies, `latest` names a complete checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from unnoise.errors import BundleError
from unnoise.storage.bundle import Bundle, json_bytes
from unnoise.storage.files import (
    disk_errors,
    new_folder,
    remove_leftovers,
    replace_file,
    write_file,
)
from unnoise.storage.tensors import file_digest, fit_weights, read_tensors, tensor_bytes
from unnoise.training.samples import folder_of as samples_of

FORMAT = 2
Optimizer: TypeAlias = "tuple[Mapping[str, nn.Parameter], torch.optim.Optimizer]"
"""Of a turn, with the parameters that it moves, by name."""

LATEST = "latest"
STATE = "state.json"
_RAW = "weights"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is on the disk; `state` is its `state.json`."""

    folder: Path
    step: int
    state: Mapping[str, Any]


def folder_of(run: Path) -> Path:
    """Where the run in `run` keeps its checkpoints."""
    return run / "checkpoints"


def latest(run: Path) -> Checkpoint | None:
    """The newest complete checkpoint, or None when there is none yet.

    Raises
    ------
    BundleError : the one that `latest` names is missing or damaged.
    """
    pointer = folder_of(run) / LATEST
    if not pointer.is_file():
        return None
    name = pointer.read_text().strip()
    if not _NAME.fullmatch(name):
        raise BundleError(
            f"{str(pointer)!r} names no checkpoint", value=name, limit="step-NNNNNNNN"
        )
    return _opened(pointer.parent / name)


def _opened(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`; BundleError where it is missing or damaged."""
    try:
        state = json.loads((folder / STATE).read_bytes())
        if state["format"] != FORMAT:
            raise BundleError(
                f"checkpoint {str(folder)!r} is of another format",
                value=state["format"],
                limit=FORMAT,
                fix="continue with the version of unnoise that wrote it, or start anew in another"
                " folder",
            )
        return Checkpoint(folder, int(state["step"]), state)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error


def as_bundle(path: Path) -> tuple[Bundle, dict[str, Tensor]] | None:
    """What a checkpoint holds, as a bundle and its weights; None where `path` is no checkpoint.

    `path` is the folder of one, or of all of a run, of which the latest is taken: the raw weights.
    Its file `average.safetensors` is the averaged ones.

    Raises BundleError when it is damaged.
    """
    folder = path.parent if path.suffix == ".safetensors" else path
    if (folder / LATEST).is_file() and (good := latest(folder.parent)) is not None:
        folder = good.folder
    if not _NAME.fullmatch(folder.name) or not (folder / STATE).is_file():
        return None
    good = _opened(folder)
    file = path.name if path.suffix == ".safetensors" else f"{_RAW}.safetensors"
    tensors, digest = _checked(good, file.removesuffix(".safetensors"))
    state = good.state
    card = {"command": state["command"], "weights": file, "step": good.step}
    configuration, defaults = state["configuration"], state["defaults"]
    return Bundle(folder, state["domain"], configuration, (), defaults, card, {}, digest), tensors


def save(
    run: Path,
    step: int,
    state: Mapping[str, Any],
    weights: nn.Module,
    average: nn.Module,
    optimizers: Sequence[Optimizer],
    keep: int,
) -> Checkpoint:
    """Write the checkpoint of `step` and make it the latest; then drop all but the newest `keep`.

    Those of later steps go too: the run went back behind them.

    Raises
    ------
    LimitExceeded, InputError : the disk refused; the last good checkpoint is still the latest.
    """
    parent = folder_of(run)
    folder = parent / f"step-{step:08d}"
    then = "continue with resume=True; the last good checkpoint is kept"
    with disk_errors(f"writing the checkpoint of step {step}", then):
        parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():  # written, but killed before `latest` named it
            shutil.rmtree(folder)
        tensors = {
            "weights": weights.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer_tensors(optimizers),
        }
        with new_folder(folder) as temporary:
            digests = {}
            for name, group in tensors.items():
                data = tensor_bytes(group)
                digests[name] = hashlib.sha256(data).hexdigest()
                write_file(temporary / f"{name}.safetensors", data)
            content = {"format": FORMAT, "step": step, **state, "sha256": digests}
            write_file(temporary / STATE, json_bytes(content))
        replace_file(parent / LATEST, f"{folder.name}\n".encode())
        for old in _superfluous(run, step, keep):
            shutil.rmtree(old, ignore_errors=True)
    return Checkpoint(folder, step, content)


def restore(
    checkpoint: Checkpoint,
    weights: nn.Module,
    average: nn.Module,
    optimizers: Sequence[Optimizer],
) -> None:
    """Put the content of `checkpoint` into all of them.

    Raises
    ------
    BundleError : a file is damaged, or does not fit the networks and the turns.
    """
    groups = {}
    for name in ("weights", "average", "optimizer"):
        groups[name], _ = _checked(checkpoint, name)
    origin = f"the weights of checkpoint {str(checkpoint.folder)!r}"
    fit_weights(weights, groups["weights"], origin)
    fit_weights(average, groups["average"], origin)
    for _, optimizer in optimizers:
        optimizer.state.clear()
    for key, tensor in groups["optimizer"].items():
        number, _, rest = key.partition("/")
        name, _, entry = rest.rpartition("/")
        try:
            parameters, optimizer = optimizers[int(number)]
            parameter = parameters[name]
        except (ValueError, LookupError) as error:
            raise BundleError(
                f"the optimisers of checkpoint {str(checkpoint.folder)!r} do not fit the turns",
                value=key,
                fix="continue with the objective of that run",
            ) from error
        # AdamW keeps its step counts on the CPU unless fused on an accelerator.
        fused = bool(optimizer.param_groups[0].get("fused"))
        where = parameter.device if entry != "step" or fused else torch.device("cpu")
        optimizer.state[parameter][entry] = tensor.to(where)


def _checked(checkpoint: Checkpoint, name: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of one file of a checkpoint, and its SHA-256; BundleError for a damaged one."""
    path = checkpoint.folder / f"{name}.safetensors"
    try:
        digest = file_digest(path)
        if digest != checkpoint.state["sha256"][name]:
            raise ValueError(f"the SHA-256 of {path.name} does not match")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(checkpoint.folder, error) from error
    return read_tensors(path), digest


def optimizer_tensors(optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """The state of each turn's optimiser by its number, parameter and entry: "0/name/exp_avg"."""
    return {
        f"{number}/{name}/{entry}": value
        for number, (parameters, optimizer) in enumerate(optimizers)
        for name, parameter in parameters.items()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }


def clean(run: Path) -> None:
    """Remove what a killed run left half-written."""
    for folder in (run, folder_of(run), samples_of(run)):
        remove_leftovers(folder)


def _superfluous(run: Path, step: int, keep: int) -> list[Path]:
    found = {}
    for path in folder_of(run).glob("step-*"):
        if match := _NAME.fullmatch(path.name):
            found[int(match[1])] = path
    kept = sorted(number for number in found if number <= step)[-keep:]
    return [path for number, path in found.items() if number not in kept]


def _damaged(folder: Path, error: Exception) -> BundleError:
    others = ", ".join(path.name for path in folder.parent.glob("step-*") if path != folder)
    return BundleError(
        f"checkpoint {str(folder)!r} is damaged: {error}",
        fix=f"write the name of another one ({others or 'there is none'}) into"
        f" {str(folder.parent / LATEST)!r}, or start anew in another folder",
    )
