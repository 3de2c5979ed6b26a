"""The engine: a request is prepared, cut into batches of samples, and plans' tasks are run."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import GeneratorType
from typing import Any, Final, final

import numpy as np
import torch
from pydantic import BaseModel

from unnoise.compat import torch_as_usual, torch_untouched
from unnoise.discovery.parts import versions
from unnoise.domain import Domain, Draw, Partial, Refused, Task, Trained
from unnoise.engine.named import spelled
from unnoise.engine.options import split
from unnoise.engine.output import Output
from unnoise.engine.place import device_of, placed
from unnoise.engine.request import check_ahead, draws_of
from unnoise.engine.task import Record, Setting, on_cpu, run_task
from unnoise.engine.threads import threads
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import State
from unnoise.storage.files import readable
from unnoise.storage.tensors import digest

_LONG: Final = 1000  # characters that a record quotes
BATCH: Final = 64
"""Samples that run at once."""


@final
@dataclass(frozen=True, eq=False)
class Job:
    """A request that is ready to run: checked, prepared, and its samples listed."""

    domain: Domain
    request: BaseModel
    inputs: Sequence[Any]
    setting: Setting
    draws: Sequence[Draw]
    versions: Mapping[str, str]
    notes: Sequence[str]
    refused: Sequence[Refused]

    @property
    def origin(self) -> str:
        """Whose plan it is, for messages."""
        return f"the plan of domain {self.domain.name!r}"

    @property
    def batches(self) -> list[Sequence[Draw]]:
        """The samples, cut as the request says."""
        size = self.setting.options.batch_size or BATCH
        return [self.draws[i : i + size] for i in range(0, len(self.draws), size)]


@final
@dataclass(frozen=True, eq=False)
class Made:
    """What a plan hands out, for the places `rows` of a batch: in a `Partial`, or at the end, when
    `states` are there. `parts` says which part of its sample each is."""

    rows: Sequence[int]
    samples: Sequence[Any]
    parts: Sequence[int]
    record: Record
    seconds: float
    states: State | None = None

    def of(self, chosen: Sequence[int]) -> Made:
        """Those at some of the places, which count from there on."""
        places = {row: k for k, row in enumerate(chosen)}
        kept = [k for k, row in enumerate(self.rows) if row in places]
        return replace(
            self,
            rows=[places[self.rows[k]] for k in kept],
            samples=[self.samples[k] for k in kept],
            parts=[self.parts[k] for k in kept],
        )


def generate_iter(domain: Domain, model: Trained, /, **request: Any) -> Iterator[Output]:
    """Finished batches as they come, of a request that was checked and prepared at once.

    Parameters: see `unnoise.generate`. `model` is the domain's own or one that it adopts.
    """
    return outputs(ready(domain, model, request))


def outputs(job: Job) -> Iterator[Output]:
    """Finished batches of a job, as they come."""
    for index, draws in enumerate(job.batches):
        noise = NoiseSource(job.setting.options.seed, [draw.number for draw in draws])
        for made in run_batch(job, draws, noise, index):
            yield output_of(job, draws, made)


@torch_untouched()
def ready(domain: Domain, model: Trained, request: Mapping[str, Any]) -> Job:
    """A request, checked and prepared. Errors: those of `unnoise.generate`."""
    options, own = split(domain.Request, request)
    options = options.settled
    sampler = check_ahead(model, options)
    device = device_of(options.device)
    model = replace(model, denoiser=placed(model.denoiser, device))
    until = math.inf if options.deadline is None else time.monotonic() + options.deadline
    with readable("what is asked for"):
        found = domain.prepare(own, model, options)
    inputs = _prepared(domain, found)
    refused = [one for one in inputs if isinstance(one, Refused)]
    drawn = draws_of(options, domain, inputs)
    draws = [draw for draw in drawn if not isinstance(inputs[draw.input], Refused)]
    rows = {draw.number: row for row, draw in enumerate(draws)}
    batches = -(-len(draws) // (options.batch_size or BATCH))
    setting = Setting(model, options, sampler, device, rows, until, batches)
    took = versions(domain, model.denoiser, model.codec, sampler, options.observation)
    usable = [one for one in inputs if not isinstance(one, Refused)]
    notes = list(dict.fromkeys(domain.notes(usable)))
    return Job(domain, own, inputs, setting, draws, took, notes, refused)


def _prepared(domain: Domain, inputs: object) -> list[Any]:
    if not isinstance(inputs, Sequence) or isinstance(inputs, str):
        raise ConfigError(
            f"prepare of the domain {domain.name!r} returned no list of inputs",
            value=type(inputs).__name__,
            fix="its author returns one prepared input for each",
        )
    if inputs and all(isinstance(one, Refused) for one in inputs):
        raise InputError(
            f"none of {len(inputs)} inputs can be used",
            value=inputs[0].where,
            fix=f"the first: {inputs[0].reason}",
        )
    return list(inputs)


def run_batch(job: Job, draws: Sequence[Draw], noise: NoiseSource, index: int) -> Iterator[Made]:
    """What the plan hands out on the way, and at the end what it returns, `Refused` included."""
    setting, record, begun = job.setting, Record(index), time.monotonic()
    plan = job.domain.plan(job.inputs, setting.model, draws)
    if not isinstance(plan, GeneratorType):
        raise ConfigError(
            f"{job.origin} is no generator",
            value=type(plan).__name__,
            fix="its author writes a function that yields tasks and returns samples",
        )
    whole: State = torch.empty(len(draws), 0)  # of the last task that was about all samples
    sent: Any = None
    handed = [0] * len(draws)  # parts of each sample that were handed out
    try:
        while True:
            options = setting.options
            with torch_as_usual(), threads(options.threads):
                try:
                    item = plan.send(sent)
                except StopIteration as stop:
                    samples = _returned(job, stop.value, handed)
                    break
                if isinstance(item, Task):
                    sent = on_cpu(run_task(setting, item, noise, record))
                    if item.rows is None or len(item.rows) == len(draws):
                        whole = sent
                    continue
            rows, done = _handed_out(job, item, handed)
            parts = [handed[k] for k in rows]
            for k in rows:
                handed[k] += 1
            yield Made(rows, done, parts, record, time.monotonic() - begun)
            sent, begun = None, time.monotonic()
    finally:
        plan.close()
    left = [k for k, sample in enumerate(samples) if sample is not None]
    last, parts = [samples[k] for k in left], [handed[k] for k in left]
    yield Made(left, last, parts, record, time.monotonic() - begun, on_cpu(whole))


def noted(value: object) -> str:
    """What a record says of something that JSON does not know: what it is, and a hash."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        kind = type(value).__name__
        return f"{kind} {tuple(value.shape)} {value.dtype}, sha256 {digest(value)[:16]}"
    text = str(value)
    if len(text) > _LONG:
        return f"{type(value).__name__}, sha256 {digest(text)[:16]}"
    return text


def _handed_out(job: Job, item: object, handed: list[int]) -> tuple[list[int], list[Any]]:
    """Places and native objects of a `Partial`."""
    if not isinstance(item, Partial):
        raise ConfigError(
            f"{job.origin} yields something else than a Task or a Partial",
            value=type(item).__name__,
        )
    rows = list(range(len(handed))) if item.rows is None else list(item.rows)
    if len(item.samples) != len(rows) or not set(rows) <= set(range(len(handed))):
        raise ConfigError(
            f"{job.origin} hands out samples for other places than it names",
            value=(len(item.samples), rows),
            limit=f"places 0 to {len(handed) - 1}",
        )
    return rows, list(item.samples)


def _returned(job: Job, samples: object, handed: list[int]) -> list[Any]:
    """What a plan returned, one native object per draw."""
    if not isinstance(samples, Sequence) or isinstance(samples, str):
        raise ConfigError(
            f"{job.origin} returned no list of samples",
            value=type(samples).__name__,
            fix="its author ends the plan with `return samples`",
        )
    if len(samples) != len(handed):
        raise ConfigError(
            f"{job.origin} returned another number of samples",
            value=len(samples),
            limit=len(handed),
        )
    missing = [k for k, sample in enumerate(samples) if sample is None and not handed[k]]
    if missing:
        raise ConfigError(f"{job.origin} returned None for samples", value=missing[:8])
    return list(samples)


def output_of(job: Job, draws: Sequence[Draw], made: Made) -> Output:
    """Samples of a batch with their record."""
    setting, options, record = job.setting, job.setting.options, made.record
    refused = [one for one in made.samples if isinstance(one, Refused)]
    left = [k for k, one in enumerate(made.samples) if not isinstance(one, Refused)]
    samples, own = [made.samples[k] for k in left], [draws[made.rows[k]] for k in left]
    steps, grid = record.steps, record.grid
    samplers = dict.fromkeys(map(spelled, record.samplers or [setting.sampler]))
    provenance: dict[str, Any] = {
        "domain": job.domain.name,
        "model": setting.model.hash,
        "seed": options.seed,
        "num_samples": options.num_samples,
        "ids": [draw.number for draw in own],
        "sampler": ", ".join(samplers),
        "steps": steps if isinstance(steps, int) or steps is None else list(steps),
        "grid": grid or ("custom" if isinstance(steps, Sequence) else "uniform"),
        "evaluations": record.evaluations,
        "seconds": round(made.seconds, 3),
        "device": str(setting.device),
        "request": json.loads(job.request.model_dump_json(exclude_none=True, fallback=noted)),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **dict(sorted({**job.versions, **record.versions}.items())),
        },
    }
    if options.exact:
        provenance["exact"] = {"threads": options.threads}
    if job.notes:
        provenance["notes"] = list(job.notes)
    said = {draw.number: record.notes[draw.number] for draw in own if draw.number in record.notes}
    if said:
        provenance["sampled"] = said
    if refused := list(dict.fromkeys([*job.refused, *refused])):
        provenance["refused"] = [{"where": one.where, "reason": one.reason} for one in refused]
    counts = job.domain.counts(samples)
    if counts:
        provenance["counts"] = dict(counts)
    return Output(
        samples,
        made.states,
        provenance,
        job.domain,
        tuple(draw.input for draw in own),
        tuple(made.parts[k] for k in left),
        [] if made.states is None else record.frames,
    )
