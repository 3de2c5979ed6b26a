"""`unnoise generate DOMAIN`: samples into a folder, batch by batch as they are finished."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

import torch

from unnoise.api import generate_iter, load
from unnoise.cli.choose import chosen
from unnoise.cli.parser import flag, flags, tidy
from unnoise.cli.progress import bar, watched
from unnoise.engine.output import Output, collect, gathered
from unnoise.engine.request import COMMON
from unnoise.storage.files import disk_errors, replace_file, writable_folder
from unnoise.trajectory import Progress

_FLAGS = [
    flag("out", Path, "folder for samples and provenance.json; default: a new DOMAIN-samples"),
    flag("num_samples", int, "samples for each input", 1),
    flag("steps", int, "steps from noise to data; default: the model's own"),
    flag("grid", str, "uniform, quadratic, linspace, karras or log_snr; default: the model's own"),
    flag(
        "sampler",
        str,
        "see `unnoise samplers`; with arguments as in 'edm(churn=20)'; default: the model's own",
    ),
    flag("seed", int, "the same seed gives the same samples", 0),
    flag("model", str, "a bundle folder or a hub id; default: the domain's shipped model"),
    flag("device", str, "cpu, cuda, ...; default: a GPU when there is one"),
    flag("batch_size", int, "samples that run at once; changes no sample", 64),
    flag("deadline", float, "seconds after which to stop"),
    flag("watch", bool, "show the first sample in the terminal as it comes", False),
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
    folder, watch = given.pop("out", None) or _new(domain.name), given.pop("watch", False)
    writable_folder(folder)
    begun = time.monotonic()
    done: list[Output] = []
    files: list[tuple[int, Path]] = []
    try:
        with ExitStack() as stack:
            if watch:
                given["model"] = load(given.get("model") or domain.name)
                see = stack.enter_context(watched(domain, given["model"]))
            else:
                show = stack.enter_context(bar())

            def follow(at: Progress) -> None:
                if watch:
                    see(at)
                    return
                done_here = at.step / max(at.steps, 1)
                show(f"generating {domain.name}", (at.batch + done_here) / at.batches)

            request = tidy(domain.Request, given)
            for output in generate_iter(domain.name, callback=follow, **request):
                with disk_errors("saving samples"):
                    files += zip(output.inputs, output.write(folder), strict=True)
                # The record needs no samples: millions fit on the disk, but not in memory.
                done.append(replace(output, samples=[], states=torch.empty(0)))
    finally:  # also when it was stopped: what is in the folder is on record
        if done:
            record = collect(done).provenance
            with disk_errors("saving samples"):
                replace_file(folder / "provenance.json", json.dumps(record, indent=2).encode())
                gathered(domain, files, folder)
    number = sum(len(output.inputs) for output in done)
    print(f"{number} samples in {folder}, {time.monotonic() - begun:.1f} s")
    return 0


def _new(name: str) -> Path:
    """A folder that is not there yet: NAME-samples, NAME-samples-2, ..."""
    names = chain([f"{name}-samples"], (f"{name}-samples-{number}" for number in count(2)))
    return next(folder for folder in map(Path, names) if not folder.exists())
