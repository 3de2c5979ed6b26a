"""`unnoise generate DOMAIN`: samples into a folder, batch by batch as they are finished."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from itertools import chain, count
from pathlib import Path
from typing import Any

from unnoise.api import generate_iter, model_for
from unnoise.cli.choose import chosen
from unnoise.cli.parser import flag, flags, tidy
from unnoise.cli.progress import bar, watched
from unnoise.discovery.domains import domain_named
from unnoise.engine.options import OPTIONS, SPOKEN, Options
from unnoise.engine.output import gathered, merged, record, recorded
from unnoise.storage.files import disk_errors, writable_folder
from unnoise.trajectory import Progress

_FLAGS = [
    flag("out", Path, "folder for samples and provenance.json; default: a new DOMAIN-samples"),
    flag("model", str, "a bundle folder or a hub id; default: the domain's shipped model"),
    *flags(Options, "Common", skip=set(OPTIONS) - set(SPOKEN)),
    flag("watch", bool, "show the first sample in the terminal as it comes", False),
]


def generate(words: list[str]) -> int:
    """Run one command line."""
    found = chosen(
        "generate",
        "Generate samples of a domain.",
        words,
        _FLAGS,
        lambda domain: flags(domain.Request, domain.name),
        domain_named,
    )
    if found is None:
        return 0
    domain, given = found
    folder, watch = given.pop("out", None) or _new(domain.name), given.pop("watch", False)
    earlier = recorded(folder)
    writable_folder(folder)
    begun = time.monotonic()
    done: list[dict[str, Any]] = []
    files: list[tuple[int, Path]] = []
    try:
        with ExitStack() as stack:
            if watch:
                given["model"] = model_for(domain, given.get("model"))
                see = stack.enter_context(watched(domain, given["model"]))
            else:
                show = stack.enter_context(bar())

            def follow(at: Progress) -> None:
                if watch:
                    see(at)
                    return
                done_here = at.step / max(at.steps, 1)
                show(f"generating {domain.name}", (at.batch + done_here) / at.batches)

            request = tidy(domain.Request, tidy(Options, given))
            for output in generate_iter(domain.name, callback=follow, **request):
                with disk_errors("saving samples"):
                    files += zip(output.inputs, output.write(folder), strict=True)
                # The record needs no samples: millions fit on the disk, but not in memory.
                done.append(output.provenance)
    finally:  # also when it was stopped: what is in the folder is on record
        if done:
            with disk_errors("saving samples"):
                record(folder, merged(done), [path for _, path in files], ())
                record(folder, merged(done), gathered(domain, files, folder), earlier)
    number = len(merged(done)["ids"])
    for note in merged(done).get("notes", ()):
        print(f"note: {note}", file=sys.stderr)
    print(f"{number} samples in {folder}, {time.monotonic() - begun:.1f} s")
    return 0


def _new(name: str) -> Path:
    """A folder that is not there yet: NAME-samples, NAME-samples-2, ..."""
    names = chain([f"{name}-samples"], (f"{name}-samples-{number}" for number in count(2)))
    return next(folder for folder in map(Path, names) if not folder.exists())
