"""What a request may say, checked before any work is done."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from unnoise.engine.named import named_sampler
from unnoise.errors import InputError, LimitExceeded, nearest
from unnoise.kernels import TransitionKernel
from unnoise.samplers import DDIM, Ancestral, Sampler, grids

MAX_SAMPLES: Final = 1_000_000
"""Samples of one request that are held in memory; `generate_iter` shares the limit per call."""


COMMON: Final = (
    "num_samples",
    "steps",
    "grid",
    "sampler",
    "seed",
    "model",
    "device",
    "batch_size",
    "guidance_scale",
    "observation",
    "start",
    "callback",
    "return_trajectory",
    "deadline",
    "ids",
)
"""The arguments of `generate` that every domain shares."""


def validate_request(kind: type[BaseModel], fields: Mapping[str, Any]) -> BaseModel:
    """`kind(**fields)`; a field that is unknown or wrong becomes one InputError.

    None means "not given" for the fields that all domains share by name (guidance_scale).
    """
    fields = {
        name: value
        for name, value in fields.items()
        if not (name == "guidance_scale" and value is None)
    }
    known = list(kind.model_fields)
    for name in fields:
        if name not in known:
            raise InputError(
                f"unknown request field {name!r}",
                limit=", ".join([*sorted(known), *COMMON]),
                fix=nearest(name, [*known, *COMMON]),
            )
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"request field {where!r}: {first['msg']}", value=first["input"]
        ) from error


def whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    """`value` as an int, or InputError unless it is a whole number from `low` to `high`."""
    limit = f">= {low}" if high is None else f"{low} to {high}"
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InputError(f"{name} is a whole number", value=value, limit=limit) from error
    if number < low or (high is not None and number > high):
        raise InputError(f"{name} is out of range", value=number, limit=limit)
    return number


def optional(name: str, value: Any, kind: type) -> None:
    """Raise InputError unless `value` is None or of this kind."""
    if value is not None and not isinstance(value, kind):
        fix = f"make one with {kind.__module__.rpartition('.')[0]}.{kind.__name__}"
        raise InputError(f"{name} is not a {kind.__name__}", value=type(value).__name__, fix=fix)


def sample_numbers(num_samples: int, inputs: int, ids: Iterable[int] | None) -> list[int]:
    if inputs < 1:
        raise InputError("a request needs at least one input")
    total = whole("num_samples", num_samples, 1) * inputs
    chosen: Any = range(total) if ids is None else ids
    try:
        count = len(chosen) if isinstance(chosen, range) else 0
        numbers = [operator.index(i) for i in islice(chosen, MAX_SAMPLES + 1)]
    except TypeError as error:
        raise InputError("ids are sample numbers", value=ids, limit=f"0 to {total - 1}") from error
    if len(numbers) > MAX_SAMPLES:
        raise LimitExceeded(
            "too many samples for one request",
            value=count or f"more than {MAX_SAMPLES}",
            limit=MAX_SAMPLES,
            fix="pass ids=range(a, b) and run several requests; samples do not depend on the cut",
        )
    if not numbers or len(set(numbers)) != len(numbers):
        raise InputError("ids are distinct sample numbers, at least one", value=numbers[:8])
    if outside := [i for i in numbers if not 0 <= i < total]:
        raise InputError(
            "a sample number is out of range",
            value=outside[0],
            limit=f"0 to {total - 1}",
            fix="num_samples counts all samples of the request, of which ids picks some",
        )
    return numbers


def checked_steps(steps: Any) -> int | list[float]:
    """A number of steps, or the times of a grid."""
    if isinstance(steps, str) or not isinstance(steps, Iterable):
        return whole("steps", steps, 1, grids.MAX_STEPS)
    try:
        return [float(t) for t in steps]
    except (TypeError, ValueError) as error:
        raise InputError("steps is a number, or the times of a grid", value=steps) from error


def chosen_sampler(chosen: str | Sampler | None, gaussian: bool) -> Sampler:
    if chosen is None:
        return DDIM() if gaussian else Ancestral()
    if isinstance(chosen, Sampler):
        return chosen
    if not isinstance(chosen, str):
        raise InputError(
            "sampler is a name or a Sampler", value=chosen, fix="see `unnoise samplers`"
        )
    return named_sampler(chosen)


def chosen_grid(
    kernel: TransitionKernel,
    steps: int | Sequence[float],
    start: float,
    name: str | None = None,
) -> Tensor:
    if isinstance(steps, int):
        make = grids.NAMED.get(name or "uniform")
        if make is None:
            raise InputError(
                f"unknown grid {name!r}",
                limit=", ".join(grids.NAMED),
                fix=nearest(str(name), grids.NAMED),
            )
        return make(kernel, steps, start)
    if name is not None:
        raise InputError("a list of times is the grid", value=name, fix="leave grid or steps out")
    grid = grids.custom(steps)
    if float(grid[0]) != start:
        raise InputError("the grid must begin where the run starts", value=steps[0], limit=start)
    return grid


def chosen_device(device: str | torch.device | None) -> torch.device:
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            "this device cannot be used", value=str(device), fix=str(error).splitlines()[0]
        ) from error
    return chosen
