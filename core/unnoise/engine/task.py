"""One task: the prior or a start, the grid, the sampler, and a look at the states on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar, final

import torch
from torch import Tensor

from unnoise.conditioning import SMC, All, Potential
from unnoise.denoise.base import check_condition
from unnoise.discovery.parts import versions
from unnoise.domain import Refused, Task, Trained
from unnoise.engine.named import named_sampler, spelled
from unnoise.engine.options import Options
from unnoise.engine.place import computing, placed
from unnoise.engine.request import begin_of, grid_of, sampler_of, steps_of
from unnoise.engine.threads import fitting
from unnoise.errors import Cancelled, ConfigError, InputError, NonFiniteError
from unnoise.kernels import GaussianKernel, ProductKernel, TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Custom, Diffusion, Grid, Observation, Sampler, Start, Step, walk
from unnoise.spaces import Layout, State
from unnoise.trajectory import Frame, Part, Progress

_CHECK_EVERY = 10  # steps between two looks at the state, which cost as much as a step's algebra
FAR: Final = 1000.0
"""Entries of a state that are larger than this many standard deviations of the prior, or this many
times the largest of what was given, are no samples: a run that became unstable, not noise or data.
"""
T = TypeVar("T")


@final
@dataclass(frozen=True, eq=False)
class Setting:
    """What every task of a request shares.

    `rows` is the row of the user's observation and start that belongs to a sample number, `until`
    the moment of the deadline.
    """

    model: Trained
    options: Options
    sampler: Sampler
    device: torch.device
    rows: Mapping[int, int]
    until: float
    batches: int


@final
@dataclass(eq=False)
class Record:
    """What is known of a batch while its plan runs; `notes` are what a sampler said, by sample.
    Steps and grid are those that the request decides, where a plan has tasks with others."""

    batch: int
    samplers: list[Sampler] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    evaluations: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    steps: int | Sequence[float] | None = None
    grid: str | None = None
    refused: list[Refused] = field(default_factory=list)
    notes: dict[int, dict[str, float]] = field(default_factory=dict)


@torch.no_grad()
def run_task(setting: Setting, task: Task, noise: NoiseSource, record: Record) -> State:
    """Run one diffusion and return its final state."""
    options, device = setting.options, setting.device
    if task.rows is not None:
        noise = noise.of(task.rows)
    if task.window is not None:
        noise = noise.window(task.window.start, task.window.stop, task.window.axis)
    if not isinstance(task.layout, Layout):
        raise ConfigError("the layout of a task is no Layout", value=type(task.layout).__name__)
    check_condition(task.condition, task.layout)
    if task.layout.batch != len(noise.ids):
        raise ConfigError(
            "a task has one state per sample", value=task.layout.batch, limit=len(noise.ids)
        )
    denoiser = setting.model.denoiser if task.denoiser is None else placed(task.denoiser, device)
    kernel, layout = denoiser.kernel, task.layout.to(device)
    sampler = setting.sampler
    if task.sampler is not None:
        _either(task.sampler, options.sampler, "sampler")
        sampler = task.sampler
    elif kernel is not setting.model.denoiser.kernel:
        sampler = sampler_of(options.sampler, kernel)
    if (potential := _potential(setting, task, noise)) is not None:
        sampler = _obeying(potential, task.sampler or options.sampler)
    if task.around is not None:
        sampler = task.around(sampler)
    observation = _observation(setting, task, noise)
    start = _start(setting, task, noise)
    steps, named = steps_of(task, options, setting.model.defaults)
    if start is None:
        x, first = kernel.prior(layout).sample(noise), begin_of(kernel, steps, named)
    else:
        x, first = start.state(kernel, layout, noise), start.t
    grid = grid_of(denoiser, steps, first, named)
    sampler.check_grid(kernel, grid)
    record.samplers.append(sampler)
    if record.steps is None or (task.steps is None and task.grid is None):
        record.steps = steps if isinstance(steps, int) else grid.tolist()
        record.grid = named if isinstance(named, str | None) else _written(named)
    run = Diffusion(denoiser, layout, noise, _moved(task.condition, device))
    # what a plan does by itself, decoding among it, is no business of the networks' precision
    with computing(device, options.dtype, options.threads or fitting(denoiser, x)):
        end = _walked(setting, record, run, sampler, x, grid, observation)
    record.evaluations += task.evaluations + run.evaluations
    record.versions |= versions(task.denoiser, task.sampler, task.observation)
    return end


def _walked(
    setting: Setting,
    record: Record,
    run: Diffusion,
    sampler: Sampler,
    x: State,
    grid: Tensor,
    observation: Observation | None,
) -> State:
    options, cpu = setting.options, run.layout.to("cpu")
    told = _moved(run.condition, torch.device("cpu"))
    limits = _limits(run.kernel, x, observation)

    def frame(step: Step) -> Frame:
        return Frame(step.t, (Part(on_cpu(step.x), on_cpu(step.x0.mode), cpu, told),))

    if options.return_trajectory:
        record.frames.append(Frame(float(grid[0]), (Part(on_cpu(x), on_cpu(x), cpu, told),)))
    for i, step in enumerate(walk(sampler, run, x, grid, observation), 1):
        x = step.x
        if options.return_trajectory:
            record.frames.append(frame(step))
        if options.callback is not None:
            now = partial(frame, step)
            at = Progress(record.batch, setting.batches, i, len(grid) - 1, step.t, x, now)
            options.callback(at)
        if time.monotonic() > setting.until:
            raise Cancelled(
                f"the deadline passed at t = {step.t:.3g} of batch {record.batch + 1} of"
                f" {setting.batches}",
                fix="allow more time, or fewer steps",
            )
        if i % _CHECK_EVERY == 0:
            _check_state(x, step.t, run.layout, limits)
    _check_state(x, float(grid[-1]), run.layout, limits)
    for name, values in step.notes.items():
        for number, value in zip(run.noise.ids, values.tolist(), strict=True):
            record.notes.setdefault(number, {})[name] = value
    return x


def _written(grid: Grid) -> str | None:
    """A grid in a record, in which times that are listed stand for themselves."""
    return None if isinstance(grid, Custom) else spelled(grid)


def on_cpu(x: State) -> State:
    """The states on the CPU."""
    return _each(lambda v: v.cpu(), x)


def _observation(setting: Setting, task: Task, noise: NoiseSource) -> Observation | None:
    found = _either(task.observation, setting.options.observation, "observation")
    if found is None:
        return None
    value, mask = found.value, found.mask
    if task.observation is None:
        value, mask = _rows(value, setting, noise), _rows(mask, setting, noise)
    return replace(found, value=_to(value, setting.device), mask=_to(mask, setting.device))


def _potential(setting: Setting, task: Task, noise: NoiseSource) -> Potential | None:
    """What the task and the request want to be obeyed."""
    asked = setting.options.potential
    if asked is not None:
        asked = asked.of(torch.tensor([setting.rows[i] for i in noise.ids]))
    found = [one for one in (task.potential, asked) if one is not None]
    return All(found) if len(found) > 1 else found[0] if found else None


def _obeying(potential: Potential, chosen: str | Sampler | None) -> Sampler:
    """Particles that obey a potential, as the chosen sampler says, if it is of particles."""
    if chosen is None:
        return SMC(potential)
    sampler = named_sampler(chosen) if isinstance(chosen, str) else chosen
    if not isinstance(sampler, SMC) or sampler.potential is not None:
        raise InputError(
            "a potential is obeyed by particles, which walk in their own way",
            value=f"sampler={spelled(sampler)}",
            fix="leave sampler out, or pass unnoise.conditioning.SMC(particles=..), without a"
            " potential of its own",
        )
    return replace(sampler, potential=potential)


def _start(setting: Setting, task: Task, noise: NoiseSource) -> Start | None:
    found = _either(task.start, setting.options.start, "start")
    if found is None:
        return None
    value = found.value if task.start is not None else _rows(found.value, setting, noise)
    return replace(found, value=_to(value, setting.device))


def _either(own: T | None, given: T | None, what: str) -> T | None:
    """What the task or the request says; both saying it is an error."""
    if own is not None and given is not None:
        raise InputError(f"this request already fixes its {what}", fix=f"leave out {what}=...")
    return given if own is None else own


def _rows(x: State, setting: Setting, noise: NoiseSource) -> State:
    """The rows of a user's state that belong to a batch; a single row serves all samples."""
    total = len(setting.rows)

    def taken(v: Tensor) -> Tensor:
        if v.ndim and v.shape[0] == 1:
            return v.expand(len(noise.ids), *v.shape[1:])
        if v.ndim == 0 or v.shape[0] != total:
            raise InputError(
                "observation and start have one row per sample, or one for all",
                value=tuple(v.shape),
                limit=f"{total} rows",
            )
        return v[[setting.rows[i] for i in noise.ids]]

    return _each(taken, x)


def _each(change: Callable[[Tensor], Tensor], x: State) -> State:
    return change(x) if isinstance(x, Tensor) else {name: change(v) for name, v in x.items()}


def _to(x: State, device: torch.device) -> State:
    return _each(lambda v: v.to(device), x)


def _moved(condition: Mapping[str, Tensor] | None, device: torch.device) -> Any:
    return condition and {name: value.to(device) for name, value in condition.items()}


def _limits(
    kernel: TransitionKernel, x: State, observation: Observation | None
) -> Mapping[str, float]:
    """What the entries of each part with a Gaussian kernel do not exceed in a run that begins with
    `x`; "" for a state that has no parts."""
    kernels = kernel.parts if isinstance(kernel, ProductKernel) else {"": kernel}
    given = [_named(x)] if observation is None else [_named(x), _named(observation.value)]
    limits = {}
    for name, part in kernels.items():
        if isinstance(part, GaussianKernel):
            known = [values[name] for values in given if name in values]
            sizes = [float(v.nan_to_num(0, 0, 0).abs().max()) for v in known if v.numel()]
            limits[name] = FAR * max(float(part.schedule.sigma(1.0)), *sizes)
    return limits


def _check_state(x: State, t: float, layout: Layout, limits: Mapping[str, float]) -> None:
    for name, value in _named(x).items():
        if not value.dtype.is_floating_point or not value.numel():
            continue
        limit = limits.get(name, math.inf)
        if float(value.abs().max()) <= min(limit, torch.finfo(value.dtype).max):
            continue
        part = layout[name] if name else layout
        of = f" {name}" if name else ""
        if bad := _samples(part, ~torch.isfinite(value)):
            raise NonFiniteError(
                f"NaN or infinity in the state{of} at t = {t:.3g}",
                value=f"samples {bad} of the batch",
                fix="lower guidance_scale, use more steps, or check the model's weights",
            )
        if not (far := _samples(part, value.abs() > limit)):  # padding
            continue
        raise NonFiniteError(
            f"the state{of} left the scale of its law at t = {t:.3g}",
            value=f"entries up to {float(value.abs().max()):.1e} in samples {far} of the batch",
            limit=f"{limit:.1e}, {FAR:g} times what the run began with",
            fix="use more steps, the sampler ddim, a lower guidance_scale, or train for longer",
        )


def _samples(layout: Layout, bad: Tensor) -> list[int]:
    """The first samples that have a bad entry."""
    return torch.nonzero(layout.sum(bad.double())).flatten().tolist()[:8]


def _named(x: State) -> Mapping[str, Tensor]:
    return {"": x} if isinstance(x, Tensor) else x
