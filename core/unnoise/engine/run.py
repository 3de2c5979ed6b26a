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
from unnoise.engine.place import computing, device_of, placed
from unnoise.engine.request import check_ahead, draws_of
from unnoise.engine.task import Record, Setting, on_cpu, run_task
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
class _Job:
    """A request that is ready to run."""

    domain: Domain
    request: BaseModel
    inputs: Sequence[Any]
    setting: Setting
    versions: Mapping[str, str]
    notes: Sequence[str]
    refused: Sequence[Refused]

    @property
    def origin(self) -> str:
        """Whose plan it is, for messages."""
        return f"the plan of domain {self.domain.name!r}"


@torch_untouched()
def generate_iter(domain: Domain, model: Trained, /, **request: Any) -> Iterator[Output]:
    """Finished batches as they come, of a request that was checked and prepared at once.

    Parameters: see `unnoise.generate`. `model` is the domain's own or one that it adopts.
    """
    options, own = split(domain.Request, request)
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
    size = options.batch_size or BATCH
    batches = [draws[i : i + size] for i in range(0, len(draws), size)]
    rows = {draw.number: row for row, draw in enumerate(draws)}
    setting = Setting(model, options, sampler, device, rows, until, len(batches))
    took = versions(domain, model.denoiser, model.codec, sampler, options.observation)
    usable = [one for one in inputs if not isinstance(one, Refused)]
    notes = list(dict.fromkeys(domain.notes(usable)))
    job = _Job(domain, own, inputs, setting, took, notes, refused)
    return (output for i, batch in enumerate(batches) for output in _run_batch(job, batch, i))


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


def _run_batch(job: _Job, draws: list[Draw], index: int) -> Iterator[Output]:
    """What the plan hands out on the way, and at the end what it returns."""
    setting, record, begun = job.setting, Record(index), time.monotonic()
    noise = NoiseSource(setting.options.seed, [draw.number for draw in draws])
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
            where = computing(setting.device, options.dtype, options.threads)
            with torch_as_usual(), where:
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
            out = _output(job, [draws[k] for k in rows], done, parts, record, begun)
            for k in rows:
                handed[k] += 1
            yield out
            sent, begun = None, time.monotonic()
    finally:
        plan.close()
    record.refused += [sample for sample in samples if isinstance(sample, Refused)]
    left = [k for k, sample in enumerate(samples) if not isinstance(sample, Refused | None)]
    last, parts = [samples[k] for k in left], [handed[k] for k in left]
    out = _output(job, [draws[k] for k in left], last, parts, record, begun)
    yield replace(out, states=on_cpu(whole), trajectory=record.frames)


def noted(value: object) -> str:
    """What a record says of something that JSON does not know: what it is, and a hash."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        kind = type(value).__name__
        return f"{kind} {tuple(value.shape)} {value.dtype}, sha256 {digest(value)[:16]}"
    text = str(value)
    if len(text) > _LONG:
        return f"{type(value).__name__}, sha256 {digest(text)[:16]}"
    return text


def _handed_out(job: _Job, item: object, handed: list[int]) -> tuple[list[int], list[Any]]:
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


def _returned(job: _Job, samples: object, handed: list[int]) -> list[Any]:
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


def _output(
    job: _Job,
    draws: list[Draw],
    samples: list[Any],
    parts: list[int],
    record: Record,
    begun: float,
) -> Output:
    setting, options = job.setting, job.setting.options
    steps, grid = record.steps, record.grid
    samplers = dict.fromkeys(map(spelled, record.samplers or [setting.sampler]))
    provenance: dict[str, Any] = {
        "domain": job.domain.name,
        "model": setting.model.hash,
        "seed": options.seed,
        "num_samples": options.num_samples,
        "ids": [draw.number for draw in draws],
        "sampler": ", ".join(samplers),
        "steps": steps if isinstance(steps, int) or steps is None else list(steps),
        "grid": grid or ("custom" if isinstance(steps, Sequence) else "uniform"),
        "evaluations": record.evaluations,
        "seconds": round(time.monotonic() - begun, 3),
        "device": str(setting.device),
        "request": json.loads(job.request.model_dump_json(exclude_none=True, fallback=noted)),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **dict(sorted({**job.versions, **record.versions}.items())),
        },
    }
    if job.notes:
        provenance["notes"] = list(job.notes)
    said = {draw.number: record.notes[draw.number] for draw in draws if draw.number in record.notes}
    if said:
        provenance["sampled"] = said
    if refused := dict.fromkeys([*job.refused, *record.refused]):
        provenance["refused"] = [{"where": one.where, "reason": one.reason} for one in refused]
    counts = job.domain.counts(samples)
    if counts:
        provenance["counts"] = dict(counts)
    inputs = tuple(draw.input for draw in draws)
    return Output(samples, None, provenance, job.domain, inputs, tuple(parts))
