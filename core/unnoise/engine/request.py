"""A request made ready: the numbers of its samples, its sampler and the grid of each task."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from unnoise.denoise import Denoiser
from unnoise.domain import Domain, Draw, Refused, Task, Trained
from unnoise.engine.named import named_grid, named_sampler, names_for
from unnoise.engine.options import Options
from unnoise.errors import IncompatibleSampler, InputError, LimitExceeded
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.samplers import DDIM, Ancestral, Custom, Grid, Sampler, Times

MAX_SAMPLES: Final = 1_000_000
"""Samples of one request that are held in memory; `generate_iter` shares the limit per call."""
AUTO: Final = 10_000
"""Numbers that an input has when its domain decides how many of them are made, and most of them."""
STEPS: Final = 50
"""Of a model that has no number of its own."""


def draws_of(options: Options, domain: Domain, inputs: Sequence[Any]) -> list[Draw]:
    """The samples that are asked for and not finished, in the order of `ids`.

    Where the domain decides how many there are, sample number n belongs to input n // AUTO, so that
    no sample of an input depends on how many another one has.
    """
    if not inputs:
        raise InputError("a request needs at least one input")
    each, ids = options.num_samples, options.ids
    if each == "auto":
        each = AUTO
        if ids is None:
            ids = (i * AUTO + k for i, one in enumerate(inputs) for k in range(_count(domain, one)))
    numbers = _numbers(each * len(inputs), ids)
    done = frozenset(() if options.finished is None else options.finished)
    left = [number for number in numbers if number not in done]
    return [Draw(number, number // each, number % each) for number in left]


def _count(domain: Domain, one: Any) -> int:
    """Of the samples of an input whose domain decides it; `Refused` has none."""
    count = 0 if isinstance(one, Refused) else domain.enough(one)
    if count > AUTO:
        raise LimitExceeded(
            f"too many samples for one input, says {domain.name!r}", value=count, limit=AUTO
        )
    return count


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
    task: Task | None, options: Options, defaults: Mapping[str, Any]
) -> tuple[int | Sequence[float] | None, str | Grid | None]:
    """Steps and the grid: the task's own, else the request's, else the model's.

    A list of times that is the model's own is a `Custom` grid, or gives its number of steps to a
    grid that is asked for; steps are None where the grid has a number of its own.
    """
    steps: int | Sequence[float] | None = options.steps
    grid = options.grid
    if task is not None and (task.steps is not None or task.grid is not None):
        steps, grid = task.steps, task.grid
    if steps is None and isinstance(grid, Grid) and grid.steps is not None:
        return None, grid
    own: int | Sequence[float] = defaults.get("steps", STEPS)
    if steps is None and grid is None and not isinstance(own, int):
        return None, Custom(own)
    if steps is None:
        steps = own if isinstance(own, int) else len(own) - 1
    if isinstance(steps, int) and grid is None:
        grid = defaults.get("grid")
    return steps, grid


def grid_of(
    denoiser: Denoiser,
    steps: int | Sequence[float] | None,
    start: float,
    grid: str | Grid | None = None,
) -> Times:
    """The decreasing times from `start` on. A list of times is meant as it is, a grid is cut."""
    if steps is None or isinstance(steps, int):
        chosen = grid if isinstance(grid, Grid) else named_grid("uniform" if grid is None else grid)
    elif grid is None:
        chosen = Custom(steps)
        if chosen.values[0] != start:
            raise InputError(
                "the grid must begin where the run starts",
                value=chosen.values[0],
                limit=start,
                fix="give a number of steps in place of times",
            )
        steps = None
    else:
        raise InputError(
            "a list of times is the grid", value=grid, fix="leave one of grid= and steps= out"
        )
    chosen.check(denoiser)
    return chosen.times(denoiser.kernel, steps, start)


def begin_of(
    kernel: TransitionKernel, steps: int | Sequence[float] | None, grid: str | Grid | None
) -> float:
    """The time at which a run begins that is given no state to start from."""
    if grid is None or isinstance(steps, Sequence):
        return 1.0
    chosen = grid if isinstance(grid, Grid) else named_grid(grid)
    return chosen.begin(kernel, steps)


def check_ahead(model: Trained, options: Options) -> Sampler:
    """The sampler of tasks that bring none. What can be refused without a plan is refused here."""
    kernel = model.denoiser.kernel
    asked = options.sampler if options.sampler is not None else model.defaults.get("sampler")
    sampler = sampler_of(asked, kernel)
    try:
        sampler.check_denoiser(model.denoiser)
    except IncompatibleSampler as error:  # samplers know each other's classes, not their names
        if sampler.fits(kernel):
            raise
        fix = f"samplers for this kernel: {', '.join(names_for(kernel))}"
        raise IncompatibleSampler(error.message, value=error.value, fix=fix) from error
    steps, grid = steps_of(None, options, model.defaults)
    start = begin_of(kernel, steps, grid) if options.start is None else options.start.t
    times = grid_of(model.denoiser, steps, start, grid)
    listed = isinstance(options.steps, Sequence) or isinstance(options.grid, Custom)
    if listed and float(times[-1]) != 0:  # a model's own grid may end at its first noise level
        raise InputError(
            "a run ends at the data", value=float(times[-1]), limit="0 as the last time"
        )
    sampler.check_grid(kernel, times)
    return sampler
