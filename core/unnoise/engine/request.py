"""A request made ready: the numbers of its samples, its sampler and the grid of each task."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from torch import Tensor

from unnoise.domain import Draw, Task, Trained
from unnoise.engine.named import named_sampler
from unnoise.engine.options import Options
from unnoise.errors import InputError, LimitExceeded, nearest
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.samplers import DDIM, Ancestral, Sampler, grids

MAX_SAMPLES: Final = 1_000_000
"""Samples of one request that are held in memory; `generate_iter` shares the limit per call."""
STEPS: Final = 50
"""Of a model that has no number of its own."""


def draws_of(options: Options, inputs: int) -> list[Draw]:
    """The samples that are asked for, in the order of `ids`."""
    if inputs < 1:
        raise InputError("a request needs at least one input")
    each = options.num_samples
    numbers = _numbers(each * inputs, options.ids)
    return [Draw(number, number // each, number % each) for number in numbers]


def _numbers(total: int, ids: Iterable[int] | None) -> list[int]:
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


def sampler_of(chosen: str | Sampler | None, kernel: TransitionKernel) -> Sampler:
    """A sampler that runs on `kernel`: by name, as it is, or the usual one."""
    if chosen is None:
        return DDIM() if isinstance(kernel, GaussianKernel) else Ancestral()
    if isinstance(chosen, Sampler):
        return chosen
    return named_sampler(chosen)


def steps_of(
    task: Task | None, start: float, options: Options, defaults: Mapping[str, Any]
) -> tuple[int | Sequence[float], str | None]:
    """Steps and the name of the grid: the task's own, else the request's, else the model's.

    A list of times that is the model's own is cut below `start`, and gives its number of steps to
    a grid that is asked for by name.
    """
    steps: int | Sequence[float] | None = options.steps
    grid = options.grid
    if task is not None and (task.steps is not None or task.grid is not None):
        steps, grid = task.steps, task.grid
    own: int | Sequence[float] = defaults.get("steps", STEPS)
    if not isinstance(own, int):
        if grid is not None:
            own = len(own) - 1
        elif start < 1:
            own = [start, *(t for t in own if t < start)]
    steps = own if steps is None else steps
    if isinstance(steps, int) and grid is None:
        grid = defaults.get("grid")
    return steps, grid


def grid_of(
    kernel: TransitionKernel,
    steps: int | Sequence[float],
    start: float,
    name: str | None = None,
) -> Tensor:
    """The decreasing times from `start` on."""
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


def check_ahead(model: Trained, options: Options) -> Sampler:
    """The sampler of tasks that bring none. What can be refused without a plan is refused here."""
    kernel = model.denoiser.kernel
    sampler = sampler_of(options.sampler or model.defaults.get("sampler"), kernel)
    sampler.check(kernel)
    start = 1.0 if options.start is None else options.start.t
    steps, grid = steps_of(None, start, options, model.defaults)
    grid_of(kernel, steps, start, grid)
    return sampler
