"""What every objective is: a loss per sample, or several that take turns."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unnoise.denoise import Denoiser
from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise.objectives.batch import Batch
from unnoise.objectives.turn import Elapsed, Networks, Turn


class Objective(ABC):  # noqa: B024 (of two methods one is enough)
    """A loss per sample, or several that take turns. All that is random in it comes from `noise`.

    An objective says either what the loss of a denoiser is, `__call__`, or which turns its training
    takes, `turns`.
    """

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        """(B,) loss of a batch of clean states."""
        raise ConfigError(
            "this objective is no loss of a denoiser alone",
            value=type(self).__name__,
            fix="train it by its turns",
        )

    def turns(self, networks: Networks) -> Sequence[Turn]:
        """The turns of a step, in order: by default one, which encodes the batch with the codec as
        it is and then calls the objective. `networks` are those to be trained."""
        return [Turn(OnStates(self), parts=("denoiser", "others"))]

    def others(self) -> Mapping[str, nn.Module]:
        """What the objective itself has to learn, by name. It is trained, averaged and saved as
        `Networks.others`; by default all modules and parameters that are found in it."""
        return learning(self)


@final
@dataclass(frozen=True, eq=False)
class OnStates:
    """The loss of an objective that is said of states, for data: of what the codec makes of them.

    The codec learns nothing from it: it would learn states that are easy to denoise.
    """

    objective: Objective

    def __call__(
        self, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
    ) -> Tensor:
        with torch.no_grad():
            states = batch.encoded(networks.codec, noise)
        return self.objective(networks.denoiser, states, noise)


def learning(owner: object) -> dict[str, nn.Module]:
    """The modules that `owner` is or holds, by the names of the attributes that lead to them.

    They are looked for in the attributes of `owner` and in those of the dataclasses, mappings and
    sequences that it consists of; another objective is asked for its own. A module is taken whole
    if it has something to learn, or nothing but a memory (buffers); a frozen one is left alone.
    Parameters that belong to no module come together under "own".
    """
    modules: dict[str, nn.Module] = {}
    loose: dict[str, nn.Parameter] = {}
    for name, found in _held("", owner, top=True, seen=set()):
        if isinstance(found, nn.Parameter):
            loose[name] = found
        else:
            modules[name or "objective"] = found
    return {**modules, "own": nn.ParameterDict(loose)} if loose else modules


def _held(
    name: str, value: object, *, top: bool = False, seen: set[int]
) -> Iterator[tuple[str, nn.Module | nn.Parameter]]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Objective) and not top:
        found = value.others()
        yield from ((f"{name}-{key}", module) for key, module in found.items())
        return
    if isinstance(value, nn.Module):
        if _learns(value):
            yield name, value
        return
    if isinstance(value, nn.Parameter):
        if value.requires_grad:
            yield name, value
        return
    if isinstance(value, Mapping):
        inside = {str(key): item for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        inside = {str(number): item for number, item in enumerate(value)}
    elif top or (is_dataclass(value) and not isinstance(value, type)):
        inside = dict(vars(value)) if hasattr(value, "__dict__") else {}
    else:
        return
    for key, item in inside.items():
        own = key.replace(".", "-")
        yield from _held(f"{name}-{own}" if name else own, item, seen=seen)


def _learns(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    if parameters:
        return any(parameter.requires_grad for parameter in parameters)
    return any(True for _ in module.buffers())
