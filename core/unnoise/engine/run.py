"""The engine: a request is cut into batches of sample numbers, and every plan's tasks are run."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from pydantic import BaseModel
from torch import Tensor

from unnoise.discovery.parts import versions
from unnoise.domain import Task, Trained
from unnoise.engine.named import spelled
from unnoise.engine.output import Output
from unnoise.engine.request import (
    checked_steps,
    chosen_device,
    chosen_grid,
    chosen_sampler,
    optional,
    sample_numbers,
    validate_request,
    whole,
)
from unnoise.errors import Cancelled, ConfigError, InputError, NonFiniteError
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, Observation, Sampler, Start, walk
from unnoise.spaces import Layout, State
from unnoise.trajectory import Callback, Frame, Progress

_CHECK_EVERY = 10  # steps between two looks for NaN: a look costs about as much as a step's algebra


@final
@dataclass(frozen=True, eq=False)
class _Run:
    """The choices of a request that every batch shares."""

    model: Trained
    request: BaseModel
    sampler: Sampler
    asked: Sampler | None  # the sampler that the user named
    steps: int | Sequence[float]
    grid: str | None
    seed: int
    device: torch.device
    observation: Observation | None
    start: Start | None
    callback: Callback | None
    keep: bool
    until: float
    positions: Mapping[int, int]  # sample number -> row in the user's observation and start


def generate_iter(
    model: Trained,
    *,
    num_samples: int = 1,
    steps: int | Sequence[float] | None = None,
    grid: str | None = None,
    sampler: str | Sampler | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    observation: Observation | None = None,
    start: Start | None = None,
    callback: Callback | None = None,
    return_trajectory: bool = False,
    deadline: float | None = None,
    ids: Sequence[int] | None = None,
    **request: Any,
) -> Iterator[Output]:
    """Finished batches as they come. Parameters: see `unnoise.generate`."""
    checked = validate_request(model.domain.Request, request)
    inputs = model.domain.inputs(checked)
    numbers = sample_numbers(num_samples, inputs, ids)
    size = 64 if batch_size is None else whole("batch_size", batch_size, 1)
    seed = whole("seed", seed, 0, 2**64 - 1)
    if deadline is not None and not (isinstance(deadline, int | float) and deadline > 0):
        raise InputError("a deadline is a positive number of seconds", value=deadline)
    optional("observation", observation, Observation)
    optional("start", start, Start)
    steps = None if steps is None else checked_steps(steps)
    kernel = model.denoiser.kernel
    chosen = chosen_sampler(
        sampler or model.defaults.get("sampler"), isinstance(kernel, GaussianKernel)
    )
    chosen.check(kernel)
    first = 1.0 if start is None else start.t
    steps, grid = _with_defaults(model, steps, grid, first)
    chosen_grid(kernel, steps, first, grid)
    where = chosen_device(device)
    model.denoiser.to(where).eval()
    batches = [numbers[i : i + size] for i in range(0, len(numbers), size)]
    run = _Run(
        model,
        _told(checked, num_samples=num_samples, seed=seed),
        chosen,
        None if sampler is None else chosen,
        steps,
        grid,
        seed,
        where,
        observation,
        start,
        callback,
        return_trajectory,
        time.monotonic() + (deadline or float("inf")),
        {number: row for row, number in enumerate(numbers)},
    )
    for i, batch in enumerate(batches):
        output = _run_batch(run, batch, i, len(batches))
        groups = tuple(model.domain.input_of(checked, n, num_samples) for n in batch)
        yield replace(output, inputs=groups)


def _run_batch(run: _Run, ids: list[int], index: int, batches: int) -> Output:
    begun = time.monotonic()
    noise = NoiseSource(run.seed, ids)
    frames: list[Frame] = []
    evaluations = 0
    plan = run.model.domain.plan(run.request, run.model, ids)
    state: State = torch.empty(len(ids), 0)  # of a plan without tasks
    whole = state  # of the last task that was about all samples
    used: list[str] = []  # the sampler of each task
    took = versions(run.model.domain, run.model.denoiser, run.sampler, run.observation)
    try:
        while True:
            try:
                task = plan.send(_cpu(state)) if used else next(plan)
            except StopIteration as stop:
                samples = list(stop.value)
                break
            used.append(spelled(task.sampler or run.sampler))
            took |= versions(task)
            state, more = _run_task(run, task, noise, frames, index, batches, len(ids))
            evaluations += more
            if task.rows is None or len(task.rows) == len(ids):
                whole = state
    finally:
        plan.close()
    if len(samples) != len(ids):
        raise ConfigError(
            f"the plan of domain {run.model.domain.name!r} returned another number of samples",
            value=len(samples),
            limit=len(ids),
        )
    provenance = _provenance(run, ids, used, took, evaluations, time.monotonic() - begun)
    if counts := run.model.domain.counts(samples):
        provenance["counts"] = dict(counts)
    return Output(samples, _cpu(whole), provenance, frames, run.model.domain)


@torch.no_grad()
def _run_task(
    run: _Run,
    task: Task,
    noise: NoiseSource,
    frames: list[Frame],
    index: int,
    batches: int,
    size: int,
) -> tuple[State, int]:
    """Run one diffusion: its final state, and the evaluations of a network that it took."""
    denoiser = run.model.denoiser if task.denoiser is None else task.denoiser.to(run.device)
    kernel, layout = denoiser.kernel, task.layout.to(run.device)
    if task.rows is not None:
        noise = noise.of(task.rows)
        size = len(noise.ids)
    if layout.batch != size:
        raise ConfigError("a task has one state per sample", value=layout.batch, limit=size)
    start = _only(task.start, run.start, "start")
    observation = _only(task.observation, run.observation, "observation")
    rows = [run.positions[i] for i in noise.ids]
    if observation is run.observation and observation is not None:
        value, mask = observation.value, observation.mask
        observation = replace(
            observation, value=_rows(value, rows, run), mask=_rows(mask, rows, run)
        )
    if start is run.start and start is not None:
        start = replace(start, value=_rows(start.value, rows, run))
    if observation is not None:
        observation = replace(
            observation,
            value=_to(observation.value, run.device),
            mask=_to(observation.mask, run.device),
        )
    if start is None:
        x, first = kernel.prior(layout).sample(noise), 1.0
    else:
        value = _to(start.value, run.device)
        x, first = replace(start, value=value).state(kernel, layout, noise), start.t
    grid = chosen_grid(run.model.denoiser.kernel, run.steps, first, run.grid)
    condition = None
    if task.condition is not None:
        condition = {name: value.to(run.device) for name, value in task.condition.items()}
    where = (layout.to("cpu"),)
    if run.keep:
        frames.append(Frame(float(grid[0]), _cpu(x), _cpu(x), where))
    sampler = _only(task.sampler, run.asked, "sampler") or run.sampler
    diffusion = Diffusion(denoiser, layout, noise, condition)
    for i, step in enumerate(walk(sampler, diffusion, x, grid, observation), 1):
        x = step.x
        if run.keep:
            frames.append(Frame(step.t, _cpu(x), _cpu(step.x0.mode), where))
        if run.callback is not None:
            run.callback(Progress(index, batches, i, len(grid) - 1, step.t, x))
        if time.monotonic() > run.until:
            raise Cancelled(
                f"the deadline passed at t = {step.t:.3g} of batch {index + 1} of {batches}",
                fix="allow more time, or fewer steps; finished batches come from generate_iter",
            )
        if i % _CHECK_EVERY == 0:
            _check_finite(x, step.t, layout)
    _check_finite(x, float(grid[-1]), layout)
    return x, task.evaluations + diffusion.evaluations


def _with_defaults(
    model: Trained, steps: int | Sequence[float] | None, grid: str | None, first: float
) -> tuple[int | Sequence[float], str | None]:
    """The steps and the grid's name of a request, completed by the model's own."""
    own: int | Sequence[float] = model.defaults.get("steps", 50)
    if not isinstance(own, int) and grid is not None:
        own = len(own) - 1  # another grid with as many steps
    elif not isinstance(own, int) and first < 1:
        own = [first, *(t for t in own if t < first)]
    steps = own if steps is None else steps
    if isinstance(steps, int) and grid is None:
        grid = model.defaults.get("grid")
    return steps, grid


def _told(request: BaseModel, **facts: int) -> BaseModel:
    """The request as a plan sees it: it may declare `num_samples` and `seed` to learn them."""
    wanted = {n: value for n, value in facts.items() if n in type(request).model_fields}
    return request.model_copy(update=wanted) if wanted else request


def _only(own: Any, given: Any, what: str) -> Any:
    if own is not None and given is not None:
        raise InputError(f"this request already fixes its {what}", fix=f"leave {what} out")
    return given if own is None else own


def _rows(x: State, rows: list[int], run: _Run) -> State:
    """The rows of a user's state that belong to a batch; a single row serves all samples."""
    if isinstance(x, dict):
        return {name: _one(value, rows, run) for name, value in x.items()}
    return _one(x, rows, run)


def _one(x: Tensor, rows: list[int], run: _Run) -> Tensor:
    if x.ndim and x.shape[0] == 1:
        return x.expand(len(rows), *x.shape[1:])
    if x.ndim == 0 or x.shape[0] != len(run.positions):
        raise InputError(
            "observation and start have one row per sample, or one for all",
            value=tuple(x.shape),
            limit=f"{len(run.positions)} rows",
        )
    return x[rows]


def _to(x: State, device: torch.device) -> State:
    return x.to(device) if isinstance(x, Tensor) else {n: v.to(device) for n, v in x.items()}


def _cpu(x: State) -> State:
    return _to(x, torch.device("cpu"))


def _check_finite(x: State, t: float, layout: Layout) -> None:
    for name, value in {"": x}.items() if isinstance(x, Tensor) else x.items():
        if value.dtype.is_floating_point and not torch.isfinite(value.sum()):
            part = layout[name] if name else layout
            bad = torch.nonzero(~torch.isfinite(part.sum(value.double()))).flatten().tolist()
            if bad:
                raise NonFiniteError(
                    f"NaN or infinity in the state{' ' + name if name else ''} at t = {t:.3g}",
                    value=f"samples {bad[:8]} of the batch",
                    fix="lower guidance_scale, use more steps, or check the model's weights",
                )


def _provenance(
    run: _Run,
    ids: list[int],
    used: list[str],
    took: dict[str, str],
    evaluations: int,
    seconds: float,
) -> dict[str, Any]:
    own = {"python": platform.python_version(), "torch": torch.__version__}
    return {
        "domain": run.model.domain.name,
        "model": run.model.hash,
        "seed": run.seed,
        "ids": ids,
        "sampler": ", ".join(dict.fromkeys(used)) or spelled(run.sampler),
        "steps": run.steps if isinstance(run.steps, int) else list(run.steps),
        "grid": run.grid or ("uniform" if isinstance(run.steps, int) else "custom"),
        "evaluations": evaluations,
        "seconds": round(seconds, 3),
        "device": str(run.device),
        "request": json.loads(run.request.model_dump_json(exclude_none=True, fallback=str)),
        "versions": {**own, **dict(sorted(took.items()))},
    }
