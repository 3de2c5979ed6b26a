"""`unnoise generate DOMAIN`: samples into a folder, batch by batch as they are finished."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any

from unnoise.api import generate_iter, model_for
from unnoise.cli.choose import chosen
from unnoise.cli.many import FLAGS as OF_TABLES
from unnoise.cli.many import many
from unnoise.cli.parser import flag, flags, tidy
from unnoise.cli.progress import bar, watched
from unnoise.cli.unfinished import decides, journal
from unnoise.discovery.domains import domain_named
from unnoise.domain import Domain
from unnoise.engine.options import OPTIONS, SPOKEN, Options
from unnoise.engine.output import gathered, merged, record, recorded
from unnoise.errors import InputError
from unnoise.storage.files import disk_errors, removed_unused, writable_folder
from unnoise.trajectory import Progress

_FLAGS = [
    flag("out", Path, "folder for samples and provenance.json; default: a new DOMAIN-samples"),
    flag("model", str, "a bundle folder or a hub id; default: the domain's shipped model"),
    *flags(Options, "Common", skip=set(OPTIONS) - set(SPOKEN)),
    flag("resume", bool, "go on with a run into --out that was stopped", False),
    flag("watch", bool, "show the first sample in the terminal as it comes", False),
    *OF_TABLES,
]
_SAID = 20  # inputs that were left out and are named on the terminal


def generate(words: list[str]) -> int:
    """Run one command line."""
    rows = any(word.partition("=")[0] == "--input" for word in words)
    found = chosen(
        "generate",
        "Generate samples of a domain.",
        words,
        _FLAGS,
        lambda domain: flags(domain.Request, domain.name, required=not rows),
        domain_named,
    )
    if found is None:
        return 0
    domain, given = found
    folder, watch = given.pop("out", None) or _new(domain.name), given.pop("watch", False)
    resume, earlier = given.pop("resume", False), recorded(folder)
    if rows:
        if watch:
            raise InputError("there is no first sample to watch of a table", value="watch=True")
        return many(domain, given, folder)
    if alone := [one.name for one in OF_TABLES if one.name in given]:
        raise InputError(
            f"{alone[0]} is about tables of requests", value=given[alone[0]], fix="pass input=TABLE"
        )
    begun = time.monotonic()
    with removed_unused(folder):
        writable_folder(folder)
        whole = _written(domain, given, folder, watch=watch, resume=resume, earlier=earlier)
    _report(whole)
    print(f"{len(whole['ids'])} samples in {folder}, {time.monotonic() - begun:.1f} s")
    return 0


def _written(
    domain: Domain,
    given: dict[str, Any],
    folder: Path,
    *,
    watch: bool,
    resume: bool,
    earlier: Collection[str],
) -> dict[str, Any]:
    """Samples and their record into `folder`; the record."""
    given["model"] = model = model_for(domain, given.get("model"))
    request = tidy(domain.Request, tidy(Options, given))
    with journal(folder, decides(domain.name, model.hash, request), resume) as kept:
        try:
            with ExitStack() as stack:
                follow = stack.enter_context(watched(domain, model) if watch else _bar(domain.name))
                run = generate_iter(domain.name, callback=follow, finished=kept.finished, **request)
                for output in run:
                    with disk_errors("saving samples"):
                        kept.add(output, output.write(folder))
        finally:  # also when it was stopped: what is in the folder is on record
            if kept.records:
                whole = merged(kept.records)
                with disk_errors("saving samples"):
                    record(folder, whole, [path for _, path in kept.files], earlier)
        with disk_errors("saving samples"):
            record(folder, whole, gathered(domain, kept.files, folder), ())
    return whole


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Progress], None]]:
    with bar() as show:

        def follow(at: Progress) -> None:
            done_here = at.step / max(at.steps, 1)
            show(f"generating {name}", (at.batch + done_here) / at.batches)

        yield follow


def _report(said: Mapping[str, Any]) -> None:
    """What whoever waits for the samples should know of them."""
    for note in said.get("notes", ()):
        print(f"note: {note}", file=sys.stderr)
    refused = said.get("refused", ())
    for one in refused[:_SAID]:
        print(f"left out: {' '.join(one['reason'].split())}", file=sys.stderr)
    if len(refused) > _SAID:
        more = len(refused) - _SAID
        print(f"left out: {more} more, see 'refused' in provenance.json", file=sys.stderr)


def _new(name: str) -> Path:
    """A folder that is not there yet: NAME-samples, NAME-samples-2, ..."""
    names = chain([f"{name}-samples"], (f"{name}-samples-{number}" for number in count(2)))
    return next(folder for folder in map(Path, names) if not folder.exists())
