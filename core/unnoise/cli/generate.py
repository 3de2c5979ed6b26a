"""`unnoise generate DOMAIN`: samples into a folder, batch by batch as they are finished."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import Parameter
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from unnoise.api import generate_iter
from unnoise.cli.choose import chosen
from unnoise.cli.parser import flag, flags, tidy
from unnoise.engine import Callback
from unnoise.engine import Progress as Position
from unnoise.files import disk_errors, replace_file, writable_folder
from unnoise.output import Output, collect
from unnoise.requests import COMMON

_FLAGS = [
    flag("out", Path, "folder for the samples and provenance.json", Parameter.empty),
    flag("num_samples", int, "samples for each input", 1),
    flag("steps", int, "steps from noise to data; default: the model's own"),
    flag("sampler", str, "see `unnoise samplers`; default: the model's own"),
    flag("seed", int, "the same seed gives the same samples", 0),
    flag("model", str, "a bundle folder or a hub id; default: the domain's shipped model"),
    flag("device", str, "cpu, cuda, ...; default: a GPU when there is one"),
    flag("batch_size", int, "samples that run at once; changes no sample", 64),
    flag("deadline", float, "seconds after which to stop"),
]


def generate(words: list[str]) -> int:
    """Run one command line."""
    # What a domain's request declares itself (guidance_scale) has its flag from there.
    shared = set(COMMON) - {"guidance_scale"}
    found = chosen(
        "generate",
        "Generate samples of a domain.",
        words,
        _FLAGS,
        lambda domain: flags(domain.Request, domain.name, skip=shared),
    )
    if found is None:
        return 0
    domain, given = found
    folder = given.pop("out")
    writable_folder(folder)
    begun = time.monotonic()
    done: list[Output] = []
    try:
        with _bar(f"generating {domain.name}") as callback:
            request = tidy(domain.Request, given)
            for output in generate_iter(domain.name, callback=callback, **request):
                with disk_errors("saving samples"):
                    output.save(folder)
                # The record needs no samples: millions fit on the disk, but not in memory.
                done.append(replace(output, samples=[], states=torch.empty(0)))
    finally:  # also when it was stopped: what is in the folder is on record
        if done:
            record = collect(done).provenance
            with disk_errors("saving samples"):
                replace_file(folder / "provenance.json", json.dumps(record, indent=2).encode())
    count = sum(len(output.inputs) for output in done)
    print(f"{count} samples in {folder}, {time.monotonic() - begun:.1f} s")
    return 0


@contextmanager
def _bar(title: str) -> Iterator[Callback]:
    """A progress bar on stderr, when that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task, furthest = bar.add_task(title, total=1.0), 0.0

        def show(now: Position) -> None:
            nonlocal furthest  # a plan with several tasks begins its steps anew with each
            furthest = max(furthest, (now.batch + now.step / max(now.steps, 1)) / now.batches)
            bar.update(task, completed=furthest)

        yield show
