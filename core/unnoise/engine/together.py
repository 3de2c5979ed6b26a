"""Requests of strangers in one batch, none of which changes the samples of another."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

from unnoise.conditioning import SMC
from unnoise.domain import Draw
from unnoise.engine.output import Output
from unnoise.engine.run import BATCH, Job, output_of, run_batch
from unnoise.noise import NoiseSource

_OWN = ("seed", "num_samples")
"""Options that requests in one batch may differ in."""


def company(job: Job) -> Hashable | None:
    """What jobs must have in common to share a batch; None for one that runs alone.

    Besides the model and the options that is what the domain says of each of its inputs,
    `Domain.alike`. A job that does not fit into one batch, a sampler that says something of each
    sample, a deadline of one's own and `exact` are for one request alone.
    """
    setting = job.setting
    options = setting.options
    alone = isinstance(setting.sampler, SMC) or options.exact or options.deadline is not None
    if alone or len(job.draws) > (options.batch_size or BATCH):
        return None
    used = {draw.input for draw in job.draws}
    kinds = {job.domain.alike(job.inputs[i], setting.model) for i in used}
    if len(kinds) != 1 or None in kinds:
        return None
    shared = options.model_dump(exclude={*_OWN, "callback"})
    return job.domain.name, setting.model.hash, repr(shared), kinds.pop()


def run_together(jobs: Sequence[Job]) -> Iterator[tuple[int, Output]]:
    """Outputs of jobs that keep `company`, each with the place of its job. They have no states.

    The samples of a job are those that it has alone, to within what rounding makes of another size
    of the batch: sample n of a seed draws the same noise wherever it is.
    """
    inputs = [one for job in jobs for one in job.inputs]
    draws: list[Draw] = []
    rows: list[list[int]] = []
    seeds: list[int] = []
    first = 0
    for job in jobs:
        rows.append(list(range(len(draws), len(draws) + len(job.draws))))
        draws += [replace(draw, input=draw.input + first) for draw in job.draws]
        seeds += [job.setting.options.seed] * len(job.draws)
        first += len(job.inputs)
    setting = replace(jobs[0].setting, batches=1)
    joint = replace(jobs[0], inputs=inputs, draws=draws, setting=setting)
    noise = NoiseSource(seeds, [draw.number for draw in draws])
    for made in run_batch(joint, draws, noise, 0):
        for place, job in enumerate(jobs):
            own = replace(made.of(rows[place]), states=None)
            if own.rows or made.states is not None:
                yield place, output_of(job, job.draws, own)
